from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("accounts", "0006_token_by_sign_in")]

    operations = [
        migrations.AddField(
            model_name="role",
            name="withheld",
            field=models.JSONField(blank=True, default=list),
        ),
    ]
