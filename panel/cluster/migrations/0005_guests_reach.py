"""What guests reach of nodes and panel."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Cluster.guests_reach_nodes and panel_addresses."""

    dependencies = [("cluster", "0004_disk_overselling")]

    operations = [
        migrations.AddField(
            model_name="cluster",
            name="guests_reach_nodes",
            field=models.BooleanField(
                default=False,
                help_text="Whether guests reach the nodes' own services, and the addresses of nodes and panel.",
            ),
        ),
        migrations.AddField(
            model_name="cluster",
            name="panel_addresses",
            field=models.JSONField(default=list, help_text="The panel's machine's own, as it last saw them."),
        ),
    ]
