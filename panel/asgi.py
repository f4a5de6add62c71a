"""The ASGI application: pages and APIs through Django, consoles' WebSockets beside it."""

from __future__ import annotations

import gc
import os
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")

from django.core.asgi import get_asgi_application

_django = get_asgi_application()

from django.urls import get_resolver  # noqa: E402

from panel.api import streaming  # noqa: E402
from panel.core import proxies  # noqa: E402
from panel.web.console import serve  # noqa: E402

# All that requests use is loaded now, and from now on not looked through by the garbage collector, which took 100 ms
# of every twentieth list.
get_resolver().url_patterns  # noqa: B018
gc.collect()
gc.freeze()


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Every request of the panel."""
    if scope["type"] in ("http", "websocket"):
        scope = proxies.seen_from(scope)
    if scope["type"] == "websocket":
        await serve(scope, receive, send)
    elif scope["type"] == "http":
        if streaming.is_meant(scope):
            scope, receive, send = streaming.set_aside(scope, receive, send)
        else:
            receive = streaming.bounded(receive)
        await _django(scope, receive, send)  # type: ignore[arg-type]
