"""Unmanaged domains: their disks are volumes of no pool, named by their places."""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def name_by_place(apps: StateApps, _editor: BaseDatabaseSchemaEditor) -> None:
    """What is stored of each disk says "volume" where it said "path"."""
    for row in apps.get_model("vms", "ForeignDomain").objects.exclude(details={}):
        row.details["disks"] = [_disk(each) for each in row.details.get("disks", [])]
        row.save(update_fields=["details"])


def _disk(stored: dict[str, Any]) -> dict[str, Any]:
    if "path" not in stored:
        return stored
    rest = {key: value for key, value in stored.items() if key != "path"}
    return {"volume": {"pool": {"kind": "", "name": "", "options": {}}, "name": stored["path"]}, **rest}


class Migration(migrations.Migration):
    """Data alone."""

    dependencies = [("vms", "0015_silence")]
    operations = [migrations.RunPython(name_by_place, migrations.RunPython.noop)]
