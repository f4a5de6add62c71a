"""A volume of a shared pool has no node."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def forget_nodes(apps: StateApps, _editor: BaseDatabaseSchemaEditor) -> None:
    """What is the same on all nodes is on none."""
    apps.get_model("storage", "Volume").objects.filter(pool__shared=True).update(node=None)


class Migration(migrations.Migration):
    """`node` may be none."""

    dependencies = [("storage", "0005_kinds"), ("cluster", "0001_initial")]
    operations = [
        migrations.AlterField(
            model_name="volume",
            name="node",
            field=models.ForeignKey(
                null=True,
                help_text="Where it is; none: in a shared pool, which is the same on all nodes.",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="volumes",
                to="cluster.node",
            ),
        ),
        migrations.RunPython(forget_nodes, migrations.RunPython.noop),
    ]
