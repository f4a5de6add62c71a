from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("tasks", "0002_operation_index")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="params_version",
            field=models.PositiveSmallIntegerField(
                default=1, help_text="Of its operation's parameters, when it was asked for."
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="release",
            field=models.CharField(blank=True, default="", help_text="Which made it; empty: one before 0.2.", max_length=32),
            preserve_default=False,
        ),
    ]
