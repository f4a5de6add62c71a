"""Signing in by name and password, the same for every door: guessing is stopped here."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from panel.accounts import guessing
from panel.accounts.guessing import WRONG_ALLOWED as WRONG_ALLOWED
from panel.accounts.models import User

log = logging.getLogger(__name__)


class PasswordBackend(ModelBackend):
    """Refuses a name from an address after WRONG_ALLOWED wrong passwords in guessing.WINDOW_SECONDS, right ones too.

    Counted by both, so that a stranger elsewhere cannot lock an administrator out.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """The user of this name and password, else None; raises PermissionDenied, which Django answers as None."""
        address = str(request.META.get("REMOTE_ADDR", "")) if request is not None else ""
        subject = ("password", address, username or "")
        if guessing.is_locked(*subject):
            log.warning("too many wrong passwords for %r from %s", username, address)
            raise PermissionDenied
        user = super().authenticate(request, username=username, password=password, **kwargs)
        if isinstance(user, User):
            return user
        guessing.count(User.objects.filter(name=username or "").first(), *subject)
        return None
