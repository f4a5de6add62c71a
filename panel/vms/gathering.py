"""What operations' requirements look at, read once for a page that asks them all.

Each requirement asks by itself for what it needs (requirements.py, drift.py, under_way.py), through relations that may
have been read before. An operation's own objects are never gathered: it looks anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import prefetch_related_objects

from panel.vms import drift, under_way
from panel.vms.models import Vm

EVERY = ("node", "snapshots", "auxiliary_disks", "disks__volume__pool")


def gather(vms: Sequence[Vm]) -> None:
    """Requirements of these VMs find what they look at, without a query each."""
    prefetch_related_objects(vms, *EVERY)
    prefetch_related_objects([vm for vm in vms if vm.seen_elsewhere], "sightings")
    drift.gather([vm for vm in vms if vm.drift])
    under_way.gather([vm for vm in vms if vm.observed_job])
