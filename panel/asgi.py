"""The ASGI application: pages and APIs through Django, consoles' WebSockets beside it."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")

import django

django.setup(set_prefix=False)

from django.urls import get_resolver  # noqa: E402

from panel.core import proxies  # noqa: E402
from panel.serving import Handler, Receive, Scope, Send  # noqa: E402
from panel.web.console import serve  # noqa: E402

_handler = Handler()

# All that requests use is loaded now, and from now on not looked through by the garbage collector, which took 100 ms
# of every twentieth list. What requests make has few circles: looking after every 700 objects cost a tenth of a list.
get_resolver().url_patterns  # noqa: B018
gc.collect()
gc.freeze()
gc.set_threshold(10_000)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Every request of the panel."""
    if scope["type"] in ("http", "websocket"):
        scope = proxies.seen_from(scope)
    if scope["type"] == "websocket":
        await serve(scope, receive, send)
    elif scope["type"] == "http":
        await _handler(scope, receive, send)
