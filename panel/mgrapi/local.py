"""Calls of root on the panel's own machine, which need no proof: who reads the panel's keys may do anything there.

They are made in this process, not over the network, and in the name of the first super administrator.
"""

from __future__ import annotations

from collections.abc import Mapping

from panel.accounts.models import Level, User
from panel.core import origin, request_id
from panel.core.errors import ConfigError
from panel.mgrapi.auth import LocalRequest
from panel.mgrapi.views import vmmgr


def answer(params: Mapping[str, str]) -> str:
    """The document that the call is answered with; raises ConfigError where there is no super administrator."""
    viewer = User.objects.filter(level=Level.SUPER, is_active=True).order_by("pk").first()
    if viewer is None:
        raise ConfigError("There is no super administrator: make one with manage.py create_admin.", option="")
    tokens = request_id.bind(None), origin.bind(origin.Origin(door="classic"))
    try:
        return vmmgr(LocalRequest(params, viewer)).content.decode()
    finally:
        request_id.reset(tokens[0])
        origin.reset(tokens[1])
