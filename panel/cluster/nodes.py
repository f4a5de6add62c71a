"""The one way from a node's row to a client that talks with it, real or fake."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from django.utils import timezone

from nodeagent.protocol import Request, from_dict, host, migration
from panel.cluster import fake, keys, session
from panel.cluster.client import NodeAddress, NodeClient, Pools, Progress
from panel.cluster.models import Node
from panel.core.errors import CommandFailed, PanelError
from panel.core.wording import Text
from panel.tasks import commands
from panel.tasks.context import Context

R = TypeVar("R")
MIB = 1 << 20
NOT_MOUNTED = "not_mounted"
"""The agent's code for a pool that is not the one that the panel knows; no command touched it."""
_tell_pools: list[Callable[[Node], Pools]] = []


def tell_pools_by(known: Callable[[Node], Pools]) -> None:
    """Have nodes told with every request what their pools are; called once, by the app that knows (storage)."""
    _tell_pools.append(known)


Counted = Callable[[Node, host.LastCounters, datetime], None]
_take_counters: list[Counted] = []


def take_counters_by(take: Counted) -> None:
    """Have this called with what a command tells of a domain that it ended, and when that was read, before it returns.

    Whatever operation it is of; called once, by the app that counts (monitoring).
    """
    _take_counters.append(take)


def known_pools(node: Node) -> Pools:
    """What is known of the node's pools, by their names."""
    return {name: known for tell in _tell_pools for name, known in tell(node).items()}


def address_of(node: Node) -> NodeAddress:
    """How the panel reaches the node with its own key."""
    return NodeAddress(
        name=node.name,
        address=node.address,
        port=node.ssh_port,
        user=node.ssh_user,
        host_key=node.host_key,
        key_path=str(keys.private_key_path()),
    )


def client(node: Node) -> NodeClient:
    """A client of the node, shared by all who ask within this process; connects with its first call."""
    return fake.node(node.pk) if node.is_fake else session.get(address_of(node))


class Agent:
    """A node's client as a step sees it: calls carry the task's fence and feed its progress."""

    def __init__(self, node: Node, ctx: Context[Any]) -> None:
        self.node = node
        self.ctx = ctx

    def call(self, request: Request[R], *, deadline: float = 60.0, quietly: bool = False) -> R:
        """Have the node carry out `request` within `deadline` seconds; `quietly`: its progress is not the step's.

        Raises NodeError's kinds, and Cancelled or Fenced when the task is to stop meanwhile.
        """
        self.ctx.stop_if_asked()
        fence = self.ctx.fence if request.MUTATES else None
        pools, heed = known_pools(self.node), self.ctx.stop_if_asked
        progress = None if quietly else self._progress
        sent_at = timezone.now()
        try:
            with self._noted(request.COMMAND):
                answer = client(self.node).call(
                    request, deadline=deadline, fence=fence, progress=progress, pools=pools, heed=heed
                )
        except CommandFailed as error:
            if request.REMOVES and error.data.get("agent_code") == NOT_MOUNTED and self.ctx.undoes_refused(NOT_MOUNTED):
                self.ctx.log(Text("{error} This step made nothing there, so nothing is left.", {"error": error.text}))
                return from_dict(request.RESULT, {})
            raise
        if isinstance(answer, (host.HostState, migration.Moved)) and answer.counters is not None:
            for take in _take_counters:
                take(self.node, answer.counters, sent_at + timedelta(seconds=answer.counters.after))
        return answer

    def call_anew(self, request: Request[R], *, deadline: float = 15.0) -> R:
        """The same over a connection of its own, which proves that the node can be reached; raises as call() does."""
        self.ctx.stop_if_asked()
        own = fake.node(self.node.pk) if self.node.is_fake else session.Session(address_of(self.node))
        try:
            return own.call(request, deadline=deadline, fence=self.ctx.fence, heed=self.ctx.stop_if_asked)
        finally:
            own.close()

    def upload(self, local: Path, remote: str, *, deadline: float) -> None:
        """Put a local file at `remote` on the node; raises as call() does."""
        heed = self.ctx.stop_if_asked
        with self._noted("upload"):
            client(self.node).upload(local, remote, deadline=deadline, progress=self._progress, heed=heed)

    @contextmanager
    def _noted(self, command: str) -> Iterator[None]:
        """Have it known of the step that this was done, for how long, and how it ended."""
        at, began, outcome = timezone.now(), time.monotonic(), commands.DONE
        try:
            yield
        except PanelError as error:
            outcome = str(error.data.get("agent_code") or error.code)
            raise
        except BaseException:
            outcome = "broken"
            raise
        finally:
            commands.note(self.ctx.commands, self.node.name, command, at, time.monotonic() - began, outcome)

    def _progress(self, progress: Progress) -> None:
        fraction = progress.done / progress.total if progress.total else 0.0
        self.ctx.progress(fraction, worded(progress))


def worded(progress: Progress) -> Text:
    """What an agent says of its progress; one that measures says it in bytes too, another has the catalogues' key."""
    measured = {"done": int(progress.done) // MIB, "total": int(progress.total) // MIB}
    texts = (Text("{done} of {total} MiB", measured), Text("{done} of {total} MiB sent", measured))
    return next((each for each in texts if each.english == progress.text), Text(progress.text))
