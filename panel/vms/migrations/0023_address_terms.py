"""Who has which address now is the beginning of who had which when."""

from __future__ import annotations

from typing import Any

from django.db import migrations

ROWS = 1000


def begin(apps: Any, schema_editor: Any) -> None:
    """A term for each address that an interface has, since it was taken."""
    held = apps.get_model("vms", "InterfaceAddress").objects.order_by("pk")
    terms = apps.get_model("network", "AddressTerm").objects
    related = held.select_related("address__network", "interface__vm__owner")
    last = 0
    while found := list(related.filter(pk__gt=last)[:ROWS]):
        terms.bulk_create([_term(terms.model, each) for each in found])
        last = found[-1].pk


def _term(model: Any, held: Any) -> Any:
    vm = held.interface.vm
    return model(
        ip=held.address.ip,
        network=held.address.network.name,
        vm_id=vm.pk,
        vm_uuid=vm.uuid,
        vm_name=vm.name,
        mac=held.interface.mac,
        owner_id=vm.owner_id,
        owner_name=vm.owner.name,
        since=held.address.allocated_at,
    )


class Migration(migrations.Migration):
    dependencies = [("vms", "0022_claims"), ("network", "0005_address_terms")]
    operations = [migrations.RunPython(begin, migrations.RunPython.noop)]
