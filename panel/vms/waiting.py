"""Steps that wait for a guest: it is looked at, and the task is put down until it is time to look again.

No worker is held meanwhile. What vmwatch sees of the VM takes the task up at once (tasks/worker.py, wake).
"""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings

from nodeagent.protocol import host
from panel.core.errors import NodeTimeout, Reschedule
from panel.core.wording import Text
from panel.vms.context import VmContext
from panel.vms.models import VmStatus
from panel.vms.spec import reached_by

PATIENCE_SECONDS = 1.0
"""How long one look at a guest may hold a worker."""
ASK_AGAIN_SECONDS = 10.0
"""A guest that is still booting may have missed the button: it is pressed again."""
LOOK_AGAIN_SECONDS = 1.0
LONGEST_WAIT = 5.0


def shut_down(ctx: VmContext[Any], limit: float) -> bool:
    """The VM is off: its guest obeyed within `limit` seconds, or was forced; answers whether it was.

    Raises Reschedule while the guest has time left.
    """
    now = time.time()
    began, asked = ctx.checkpoint.get("began", now), ctx.checkpoint.get("asked", 0.0)
    if _is_off(_look(ctx, now, asked, began + limit - now)):
        # Recorded but now: a guest that still runs at every look is no history.
        ctx.read_state(host.HostInfo(uuid=str(ctx.vm.uuid)))
        return False
    waited = time.time() - began
    if waited < limit:
        checkpoint = {"began": began, "asked": now if _is_due(now, asked) else asked}
        _put_down(ctx, waited, limit, checkpoint, "waiting for the guest")
    ctx.log(Text("The guest did not shut down within {limit:g} s: forcing it off.", {"limit": limit}), "warning")
    ctx.read_state(host.HostStop(uuid=str(ctx.vm.uuid)))
    return True


def _is_due(now: float, asked: float) -> bool:
    return now - asked >= ASK_AGAIN_SECONDS


def _look(ctx: VmContext[Any], now: float, asked: float, left: float) -> host.HostState:
    uuid = str(ctx.vm.uuid)
    if not _is_due(now, asked):
        # What it has counted is booked at each look, since nobody sees when it goes off.
        return ctx.agent.call(host.HostInfo(uuid=uuid, counters=True))
    patience = min(max(left, 0.0), PATIENCE_SECONDS)
    return ctx.agent.call(host.HostShutdown(uuid=uuid, timeout_seconds=patience), quietly=True)


def _is_off(state: host.HostState) -> bool:
    return not state.exists or state.state in (VmStatus.SHUT_OFF, VmStatus.SAVED)


def reach(ctx: VmContext[Any], port: int) -> float:
    """The guest answers on its address; answers after how many seconds it did.

    Raises Reschedule while it has time left, then NodeTimeout.
    """
    limit, began = float(settings.CONFIG.guest_reachable_seconds), float(ctx.checkpoint.get("began", time.time()))
    address = reached_by(ctx.vm)
    look = host.GuestWait(uuid=str(ctx.vm.uuid), address=address, port=port, timeout_seconds=PATIENCE_SECONDS)
    try:
        ctx.agent.call(look, deadline=PATIENCE_SECONDS + 30.0, quietly=True)
    except NodeTimeout as error:
        waited = time.time() - began
        if waited >= limit:
            text = Text("The guest did not answer within {seconds:g} s.", {"seconds": limit})
            raise NodeTimeout(text, node=ctx.vm.node.name, command=look.COMMAND, seconds=limit) from error
        _put_down(ctx, waited, limit, {"began": began}, "waiting for the guest to answer")
    return round(time.time() - began, 1)


def _put_down(ctx: VmContext[Any], waited: float, limit: float, checkpoint: dict[str, Any], text: str) -> None:
    """Raise Reschedule; who has waited long is looked at less often."""
    ctx.progress(waited / limit, text)
    wait = min(max(LOOK_AGAIN_SECONDS, waited / 10), LONGEST_WAIT)
    raise Reschedule(min(wait, limit - waited), checkpoint)
