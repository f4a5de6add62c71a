"""Signing in by name and password, the same for every door: guessing is stopped here."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from panel.accounts import throttling
from panel.accounts.models import User
from panel.accounts.throttling import WRONG_ALLOWED as WRONG_ALLOWED
from panel.core.addresses import counted_as
from panel.core.rows import Prepared

log = logging.getLogger(__name__)


BY_ID = Prepared(lambda user_id: User.objects.select_related("role").filter(pk=user_id), -1)


class PasswordBackend(ModelBackend):
    """Refuses a name from an address after WRONG_ALLOWED wrong passwords in guessing.WINDOW_SECONDS, right ones too.

    Counted by both, so that a stranger elsewhere cannot lock an administrator out; and by address for all names
    together.
    """

    def get_user(self, user_id: Any) -> User | None:
        """Whose session it is, with their role; None where they are gone, or not let in. Each page asks for it."""
        user = BY_ID.first(int(user_id))
        return user if user is not None and self.user_can_authenticate(user) else None

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """The user of this name and password, else None.

        Raises PermissionDenied, which Django answers as None, and Throttled where too many from the address were wrong.
        """
        address = str(request.META.get("REMOTE_ADDR", "")) if request is not None else ""
        known = User.objects.filter(name=username or "").first()
        # The account's own name: the database finds it by others too, in capitals or with a space behind.
        subject = ("password", counted_as(address), known.name if known is not None else username or "")
        with throttling.attempt(known, *subject) as of_name:
            if of_name.locked:
                log.warning("too many wrong passwords for %r from %s", username, address)
                raise PermissionDenied
            with throttling.from_address(address) as of_address:
                user = super().authenticate(request, username=username, password=password, **kwargs)
                if not isinstance(user, User) and username and password:
                    user = _in_directory(request, username, password)
                if not isinstance(user, User):
                    return None
                of_name.forgive()
                of_address.forgive()
                return user


def knows_password(user: User, password: str) -> bool:
    """Whether it is the user's password, in the panel or in the directory."""
    if not user.directory_dn:
        return user.check_password(password)
    found = _in_directory(None, user.name, password)
    return found is not None and found.pk == user.pk


def _in_directory(request: HttpRequest | None, name: str, password: str) -> User | None:
    if not settings.CONFIG.ldap_uri:
        return None
    # Here, since most panels have no directory and need not load its library.
    from panel.accounts import directory

    return directory.authenticate(request, name, password)
