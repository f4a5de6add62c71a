from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notices", "0001_initial")]

    operations = [
        migrations.AddField(
            "problem",
            "said",
            models.JSONField(null=True, help_text="What shown() makes the sentence of: a Text's template and data."),
        ),
        migrations.AlterField(
            "problem",
            "text",
            models.TextField(help_text="The sentence in English, as earlier releases stored it alone."),
        ),
    ]
