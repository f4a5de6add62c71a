from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("tasks", "0004_reservations")]

    operations = [
        migrations.AddField(
            model_name="tasklog",
            name="said",
            field=models.JSONField(help_text="What shown() makes the sentence of: a Text's template and data.", null=True),
        ),
        migrations.AlterField(
            model_name="tasklog",
            name="text",
            field=models.TextField(help_text="The sentence in English, as earlier releases stored it alone."),
        ),
    ]
