"""What open tasks of earlier releases may take is reserved, as those of this one do it when they are asked for."""

from django.db import migrations

OVER = ("done", "failed", "cancelled")


def reserve(apps, schema_editor):
    task_model, disk_model = apps.get_model("tasks", "Task"), apps.get_model("vms", "Disk")
    reservation_model, vm_model = apps.get_model("tasks", "Reservation"), apps.get_model("vms", "Vm")
    tasks = task_model.objects.filter(object_type="vm").exclude(status__in=OVER)
    found = []
    for task in tasks.filter(operation="vm.grow-disk"):
        if disk := disk_model.objects.filter(vm_id=task.object_id, target=task.params["disk"]).first():
            found.append((task, "disk", disk.pk, "size_gib", task.params["size_gib"]))
    for task in tasks.filter(operation__in=("vm.configure", "vm.adopt")):
        step = task.steps.filter(name__in=("write_settings", "read_differences")).first()
        vm = vm_model.objects.filter(pk=task.object_id).first()
        if vm is None or step is None or not (before := (step.output or {}).get("before")):
            continue
        had = {name: before.get(name, getattr(vm, name)) for name in ("memory_mib", "vcpus", "max_memory_mib")}
        had["promised_mib"] = max(had["memory_mib"], had.pop("max_memory_mib"))
        found += [(task, "vm", vm.pk, resource, amount) for resource, amount in had.items()]
    names = ("task", "kind", "object_id", "resource", "amount")
    reservation_model.objects.bulk_create(reservation_model(**dict(zip(names, each, strict=True))) for each in found)


class Migration(migrations.Migration):

    dependencies = [("vms", "0016_disks_by_place"), ("tasks", "0004_reservations")]

    operations = [migrations.RunPython(reserve, migrations.RunPython.noop)]
