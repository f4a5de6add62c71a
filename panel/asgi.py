"""The ASGI application: pages and APIs through Django, consoles' WebSockets beside it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")

from django.core.asgi import get_asgi_application

_django = get_asgi_application()

from panel.web.console import serve  # noqa: E402


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Every request of the panel."""
    if scope["type"] == "websocket":
        await serve(scope, receive, send)
    elif scope["type"] == "http":
        await _django(scope, receive, send)  # type: ignore[arg-type]
