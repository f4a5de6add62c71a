"""What open tasks of earlier releases change is claimed for them, as those of this one do it when they are asked for."""

from typing import Any

from django.db import migrations

OVER = ("done", "failed", "cancelled")
NOTED = {"vm.change-disk": ("remember_disk", "disk"), "vm.change-interface": ("reserve_change", "interface")}
WHOLE = ("vm.reinstall", "vm.rescue")


def claim(apps: Any, schema_editor: Any) -> None:
    task_model, reservation_model = apps.get_model("tasks", "Task"), apps.get_model("tasks", "Reservation")
    found = []
    tasks = task_model.objects.filter(object_type="vm", operation__in=(*NOTED, *WHOLE)).exclude(status__in=OVER)
    for task in tasks.exclude(object_id=None):
        if task.operation in WHOLE:
            found.append((task, "vm", task.object_id, task.operation))
            continue
        name, kind = NOTED[task.operation]
        step = task.steps.filter(name=name).first()
        if step is None or not (noted := step.output) or kind not in noted:
            continue
        found.append((task, kind, noted[kind], "change"))
        targets = {noted[when]["target"] for when in ("before", "after") if "target" in noted.get(when, {})}
        found += [(task, "vm", task.object_id, f"target:{each}") for each in sorted(targets)]
    names = ("task", "kind", "object_id", "resource")
    reservation_model.objects.bulk_create(
        reservation_model(**dict(zip(names, each, strict=True)), amount=1) for each in found
    )


class Migration(migrations.Migration):
    dependencies = [("vms", "0021_unmanaged_domain"), ("tasks", "0005_log_said")]

    operations = [migrations.RunPython(claim, migrations.RunPython.noop)]
