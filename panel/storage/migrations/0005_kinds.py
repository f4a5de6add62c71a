"""A pool has the options of its kind; a directory's path is one of them."""

from __future__ import annotations

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def paths_to_options(apps: StateApps, _editor: BaseDatabaseSchemaEditor) -> None:
    """All pools were directories."""
    for pool in apps.get_model("storage", "Pool").objects.all():
        pool.options = {"path": pool.path}
        pool.save(update_fields=["options"])


def options_to_paths(apps: StateApps, _editor: BaseDatabaseSchemaEditor) -> None:
    """The way back."""
    for pool in apps.get_model("storage", "Pool").objects.all():
        pool.path = pool.options.get("path", "")
        pool.save(update_fields=["path"])


class Migration(migrations.Migration):
    """`path` becomes one of `options`."""

    dependencies = [("storage", "0004_not_mounted")]
    operations = [
        migrations.AddField(
            model_name="pool",
            name="options",
            field=models.JSONField(default=dict, help_text="What its kind must know of it."),
        ),
        migrations.AlterField(
            model_name="pool",
            name="path",
            field=models.CharField(max_length=255, default=""),
        ),
        migrations.RunPython(paths_to_options, options_to_paths),
        migrations.RemoveField(model_name="pool", name="path"),
        migrations.AlterField(
            model_name="pool",
            name="kind",
            field=models.CharField(default="dir", help_text="One of panel/storage/kinds.", max_length=16),
        ),
    ]
