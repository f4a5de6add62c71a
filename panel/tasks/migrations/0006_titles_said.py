from django.db import migrations, models

SAID = "The Text that the {} is made of when it is shown."


class Migration(migrations.Migration):

    dependencies = [("tasks", "0005_log_said")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="title_said",
            field=models.JSONField(help_text=SAID.format("title"), null=True),
        ),
        migrations.AlterField(
            model_name="task",
            name="title",
            field=models.CharField(help_text="In English, as earlier releases stored it alone.", max_length=200),
        ),
        migrations.AddField(
            model_name="taskstep",
            name="progress_said",
            field=models.JSONField(help_text=SAID.format("note"), null=True),
        ),
        migrations.AlterField(
            model_name="taskstep",
            name="title",
            field=models.CharField(help_text="In English, the catalogues' key.", max_length=128),
        ),
        migrations.AlterField(
            model_name="tasklog",
            name="said",
            field=models.JSONField(help_text=SAID.format("sentence"), null=True),
        ),
    ]
