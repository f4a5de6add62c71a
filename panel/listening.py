"""How connections come to the panel's server: uvicorn's protocol, with a limit to how long a request's head may take.

Without it whoever sends a byte now and then holds a connection for ever; what comes after the head serving.py bounds.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0


class Http(H11Protocol):
    """Closes a connection whose next request has begun and whose head does not end; an idle one is uvicorn's matter."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client is there, and is to send a request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Something came: the end of a head, or not yet."""
        super().data_received(data)
        if self._lacks_head():
            self._watch()
        else:
            self._unwatch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._unwatch()
        super().connection_lost(exc)

    def _lacks_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _unwatch(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        # A WebSocket has a protocol of its own by now.
        if self._lacks_head() and self.transport.get_protocol() is self:
            self.transport.close()
