"""What browsers call themselves has room: Edge and Opera say who they are behind 120 characters."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0009_reader")]

    operations = [
        migrations.AlterField("browsersession", "agent", models.CharField(blank=True, max_length=255)),
    ]
