"""A VM's description as the node's agent would write it, for showing what a change means.

The same pure functions as on the node (docs/decisions/0009), so that a plan does not tell another
story than the work.
"""

from __future__ import annotations

import copy
import difflib
from typing import Any

from nodeagent.xml.describe import domain_of
from panel.vms.models import Vm
from panel.vms.spec import host_spec


def with_values(vm: Vm, values: dict[str, Any]) -> Vm:
    """The VM as it would be with other values; nothing is saved."""
    other = copy.copy(vm)
    for name, value in values.items():
        setattr(other, name, value)
    return other


def difference(before: Vm, after: Vm) -> str:
    """The unified difference of the two descriptions; empty when there is none."""
    return "".join(
        difflib.unified_diff(
            domain_of(host_spec(before)).to_xml().splitlines(keepends=True),
            domain_of(host_spec(after)).to_xml().splitlines(keepends=True),
            "before",
            "after",
        )
    )
