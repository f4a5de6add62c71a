from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks", "0007_request_index")]

    operations = [
        migrations.AddField(
            "taskstep",
            "commands",
            models.JSONField(help_text="What it had nodes do: see commands.py.", null=True),
        ),
    ]
