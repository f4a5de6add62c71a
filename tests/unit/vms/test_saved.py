"""What each operation does with a VM's saved memory is decided, and told."""

from __future__ import annotations

import re

from panel.standalone.options import TOP
from panel.tasks import registry
from panel.vms import saved


def test_every_operation_on_a_vm_has_a_deal_and_the_document_tells_it() -> None:
    there = {each.name for each in registry.every() if each.object_type == "vm" and not each.creates}
    assert there == set(saved.DEALS)
    text = (TOP / "docs" / "operate.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^## Saved memory\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    told = {
        name: row for row in table.splitlines() if row.startswith("|") for name in re.findall(r"`(vm\.[a-z-]+)`", row)
    }
    for name, deal in saved.DEALS.items():
        assert told[name].split("|")[2].strip().startswith(deal), name
