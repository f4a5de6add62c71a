from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notices", "0002_said")]

    operations = [
        migrations.AddField("problem", "acknowledged_at", models.DateTimeField(null=True)),
        migrations.AddField(
            "problem", "acknowledged_by", models.CharField(max_length=150, blank=True, help_text="A user's name.")
        ),
        migrations.AddField("problem", "note", models.CharField(max_length=500, blank=True)),
        migrations.AddIndex("problem", models.Index(fields=["closed_at"], name="problem_closed")),
    ]
