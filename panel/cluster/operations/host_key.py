"""cluster.read-host-key: which ssh host keys a host shows, so that a person compares them before one is trusted."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from pydantic import Field

from panel.cluster import keys, ssh
from panel.cluster.client import NodeAddress
from panel.cluster.way_in import HostAddress
from panel.core.errors import NodeUnreachable, OperationFailed
from panel.core.wording import Text
from panel.tasks.context import Context
from panel.tasks.operation import Operation, Params, Step


class ReadHostKeyParams(Params):
    """Where the host is."""

    address: HostAddress = Field(max_length=255, description="Host name or IP address.")
    ssh_port: int = Field(default=22, ge=1, le=65535)


def read_host_keys(ctx: Context[ReadHostKeyParams]) -> dict[str, Any]:
    """The host's keys are in the result, its usual one first; nobody signed in to it, and nothing was told to it."""
    asked = ctx.params
    where = NodeAddress(name=asked.address, address=asked.address, port=asked.ssh_port)
    try:
        shown = list(ssh.shown_keys(where, settings.CONFIG.node_connect_seconds))
    except NodeUnreachable as error:
        # Somebody waits for the answer: it is not tried for minutes.
        raise OperationFailed(error.text, step="read_host_keys") from error
    found = [{"kind": each.split()[0], "fingerprint": keys.fingerprint(each)} for each in shown]
    for each in found:
        ctx.log(Text("The host shows the key {key}.", {"key": f"{each['fingerprint']} ({each['kind']})"}))
    return {"result": {"address": asked.address, "ssh_port": asked.ssh_port, "keys": found}}


class ReadHostKey(Operation[ReadHostKeyParams]):
    """Read the SSH host keys that a host shows. What `ssh-keygen -l` prints on the host itself must be among them."""

    name = "cluster.read-host-key"
    label = "Read the host key"
    permission = "cluster.manage"
    params = ReadHostKeyParams
    on_failure = "stop"
    # No undo: it only reads.
    steps = (Step(read_host_keys, "Read the host's keys"),)

    def title(self, ctx: Any) -> Text:
        """The task's title, for people."""
        return Text("Read the host key of {address}", {"address": ctx.params.address})
