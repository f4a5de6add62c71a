from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("webhooks", "0002_token")]

    operations = [
        migrations.AddField(
            model_name="webhook",
            name="language",
            field=models.CharField(default="en", help_text="Of the sentences in what it is told.", max_length=8),
        ),
        migrations.AddField(
            model_name="delivery",
            name="error_said",
            field=models.JSONField(help_text="The Text that the error is made of when it is shown.", null=True),
        ),
    ]
