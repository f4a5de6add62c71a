"""From where a request comes, in force while it is served: for the journal, which is written far below the doors."""

from __future__ import annotations

import contextvars
from dataclasses import dataclass
from typing import Literal

Door = Literal["page", "rest", "classic", "panel"]


@dataclass(frozen=True)
class Origin:
    """The door that was used ("panel" for what the panel does by itself) and the caller's address, "" for none.

    `impersonated_by` is the administrator who works in the account of the user that asks, "" for nobody.
    """

    door: Door = "panel"
    address: str = ""
    impersonated_by: str = ""


NOBODY = Origin()
_current: contextvars.ContextVar[Origin] = contextvars.ContextVar("origin", default=NOBODY)


def current() -> Origin:
    """Where the request that is being served comes from."""
    return _current.get()


def bind(origin: Origin) -> contextvars.Token[Origin]:
    """Put `origin` in force; reset() with the token."""
    return _current.set(origin)


def reset(token: contextvars.Token[Origin]) -> None:
    """Put back what was in force before bind()."""
    _current.reset(token)
