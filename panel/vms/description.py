"""A VM's description as the node's agent would write it, for showing what a change means.

The same pure functions as on the node (docs/decisions/0009), so that a plan does not tell another
story than the work.
"""

from __future__ import annotations

import difflib

from nodeagent.xml.describe import domain_of
from panel.vms.models import Vm
from panel.vms.spec import rows_spec


def difference(before: Vm, after: Vm) -> str:
    """The unified difference of the two descriptions; empty when there is none."""
    return "".join(
        difflib.unified_diff(
            domain_of(rows_spec(before)).to_xml().splitlines(keepends=True),
            domain_of(rows_spec(after)).to_xml().splitlines(keepends=True),
            "before",
            "after",
        )
    )
