"""Which nodes vmwatch-master's file names: it believes no other."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """WatchKeys.master_nodes."""

    dependencies = [("monitoring", "0006_readings")]

    operations = [
        migrations.AddField(
            model_name="watchkeys",
            name="master_nodes",
            field=models.JSONField(default=list, help_text="Which nodes its file names."),
        ),
    ]
