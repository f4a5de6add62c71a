from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_impersonation")]

    operations = [
        migrations.AddField("user", "language", models.CharField(blank=True, default="", max_length=8), False),
        migrations.AddField("user", "time_zone", models.CharField(blank=True, default="", max_length=64), False),
        migrations.AddField("user", "page_settings", models.JSONField(blank=True, default=dict)),
    ]
