"""What a VM shows on its screen, as a small picture for its pages; the console is the screen itself."""

from __future__ import annotations

import base64
import binascii

import redis
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse

from nodeagent.protocol import host
from panel.cluster.nodes import client
from panel.core import redis_client
from panel.core.errors import PanelError
from panel.vms.models import ON, Vm
from panel.vms.selectors import get_vm
from panel.web.rendering import found_or_404, need, viewer_of

CALL_SECONDS = 5.0
KEPT_SECONDS = 4


@login_required
def vm_picture(request: HttpRequest, vm_id: int) -> HttpResponse:
    """The picture; no content where there is none now."""
    viewer = viewer_of(request)
    vm = found_or_404(get_vm, viewer, vm_id)
    need(viewer, "vms.console")
    picture = _picture(vm) if vm.status in ON else b""
    response = HttpResponse(picture, content_type="image/png") if picture else HttpResponse(status=204)
    response.headers["Cache-Control"] = "no-store"
    return response


def _picture(vm: Vm) -> bytes:
    """The node is asked now and then, however many look; and by one at a time, so that a silent one holds up one."""
    store, kept, asking = redis_client.client(), f"vmpanel:picture:{vm.pk}", f"vmpanel:picture:of:{vm.node_id}"
    try:
        found = store.get(kept)
        if isinstance(found, bytes) or not store.set(asking, "1", nx=True, ex=int(2 * CALL_SECONDS)):
            return found if isinstance(found, bytes) else b""
        try:
            picture = _asked(vm)
            store.set(kept, picture, ex=KEPT_SECONDS)
        finally:
            store.delete(asking)
    except redis.RedisError:
        return b""
    return picture


def _asked(vm: Vm) -> bytes:
    try:
        answer = client(vm.node).call(host.HostPicture(uuid=str(vm.uuid)), deadline=CALL_SECONDS)
        return base64.b64decode(answer.png, validate=True)
    except (PanelError, OSError, binascii.Error):
        return b""
