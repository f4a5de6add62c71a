from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks", "0006_titles_said")]

    operations = [
        migrations.AddIndex("task", models.Index(fields=["request_id"], name="task_request")),
    ]
