"""Not hearing is not knowing: what becomes of VMs when their node, or vmwatch-master, says nothing."""

from __future__ import annotations

import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from panel.cluster.models import Node
from panel.cluster.periodic import check_nodes
from panel.core.wording import Text
from panel.monitoring import master
from panel.monitoring.configure import configure_again
from panel.monitoring.models import MasterWatch, NodeWatch, WatchKeys
from panel.notices.models import Severity
from panel.notices.services import close_problem, close_problems, open_problem
from panel.vms.models import Cause, Vm, VmStatus
from panel.vms.status import Observation, StatusLog

MASTER_KEY = "vmwatch:master"
UNHEARD = "Nothing is heard of node “{node}”: the status of its VMs is not known."
MASTER_SILENT = timedelta(seconds=60)
"""How long vmwatch-master, which speaks every 5 seconds, may say nothing to its check."""


def silent_after() -> timedelta:
    """How long a node may be silent: one resync interval, in which it says three times that it is there."""
    return timedelta(seconds=settings.CONFIG.vmwatch_resync_seconds)


def mark_silent(after: timedelta | None = None) -> int:
    """VMs of nodes that have been silent too long become unknown, and problems say so; answers how many VMs did."""
    before = timezone.now() - (after or silent_after())
    heard_at = MasterWatch.objects.filter(id=1).values_list("heard_at", flat=True).first()
    watches = list(NodeWatch.objects.exclude(heard_at=None).select_related("node"))
    silent = [watch for watch in watches if watch.heard_at is not None and watch.heard_at < before]
    heard = [watch for watch in watches if watch not in silent]
    if close_problems([_key(watch) for watch in heard]):
        # VMmanager's rule: what was wrong and is solved is configured again.
        transaction.on_commit(check_nodes)
    of_master = bool(silent) and heard_at is not None and heard_at < before
    if of_master:
        _say_master_is_silent()
    else:
        # Of a master that never spoke it is check_master that says so, and no silence here unsays it.
        if (_is_recent(heard_at) or not Node.objects.exists()) and close_problem(MASTER_KEY):
            transaction.on_commit(configure_again)
    return sum(_forget_node(watch.pk, before, of_master=of_master) for watch in silent)


def check_master() -> None:
    """The check of every 60 minutes: a vmwatch-master that says nothing is a problem, and is started where we can.

    Workers notice its silence sooner and close the problem when it speaks; this is for when none works.
    One that was enabled a moment ago, with the first node, has the same time to speak as another.
    """
    if not Node.objects.exists():
        # It is blocked until there is one.
        return
    heard_at = MasterWatch.objects.filter(id=1).values_list("heard_at", flat=True).first()
    if _is_recent(heard_at):
        if close_problem(MASTER_KEY):
            configure_again()
        return
    enabled_at = WatchKeys.objects.filter(id=1).values_list("enabled_at", flat=True).first()
    if _is_recent(enabled_at):
        return
    _say_master_is_silent()
    if settings.CONFIG.panel_here and Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "vmwatch-master"], check=False, timeout=60)


def _is_recent(at: datetime | None) -> bool:
    return at is not None and timezone.now() - at < MASTER_SILENT


def _say_master_is_silent() -> None:
    text = Text("vmwatch-master is silent: the status of VMs is not known. That says nothing of the nodes.", {})
    if settings.CONFIG.panel_here and master.end_standing_still():
        ended = Text("Its process stood still, and was ended for its service manager to start it again.", {})
        text = Text("{text} {ended}", {"text": text, "ended": ended})
    open_problem(MASTER_KEY, text, severity=Severity.ALARM, object_type="vmwatch")


def _forget_node(watch_id: int, before: datetime, *, of_master: bool) -> int:
    with transaction.atomic():
        # Looked at again under the lock that take_messages holds, and the node's removal: a word may have come
        # just now, and of a node that is gone no problem is opened that nothing would close.
        watch = NodeWatch.objects.select_for_update().filter(pk=watch_id, heard_at__lt=before).first()
        if watch is None:
            return 0
        if not of_master:
            open_problem(
                _key(watch),
                Text(UNHEARD, {"node": watch.node.name}),
                severity=Severity.ERROR,
                object_type="node",
                object_id=watch.node_id,
            )
        marked, whose = 0, "vmwatch-master is silent" if of_master else "its node is silent"
        log = StatusLog()
        vms = Vm.objects.select_for_update().filter(node_id=watch.node_id).exclude(status=VmStatus.UNKNOWN)
        for vm in vms.order_by("pk"):
            # The time it was last seen stays: that is what a person wants to know.
            seen = Observation(VmStatus.UNKNOWN, vm.observed_at or before, Cause.SILENCE, watch.node, detail=whose)
            marked += log.record(vm, seen)
        log.write()
    return marked


def _key(watch: NodeWatch) -> str:
    return f"node:{watch.node_id}:silent"


class SilenceWatch:
    """mark_silent() for a process that calls it again and again, and may itself have been cut off.

    Who could not reach the database for a while has nothing to say of others' silence until they had
    the time to speak again.
    """

    def __init__(self) -> None:
        self._called = self._since = float("-inf")

    def __call__(self) -> None:
        """Mark, unless this process has been back for less than the time that nodes may be silent."""
        now = time.monotonic()
        if now - self._called > settings.CONFIG.sweep_seconds + 3.0:
            self._since = now
        self._called = now
        if now - self._since >= silent_after().total_seconds():
            mark_silent()
