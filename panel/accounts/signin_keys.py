"""One-time sign-in keys: a billing system asks for one and sends the customer's browser with it to the panel."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction
from django.urls import Resolver404, resolve
from django.utils import timezone

from panel.accounts import journal
from panel.accounts.guards import refuse_impersonated
from panel.accounts.models import SigninKey, User
from panel.accounts.services import require_power_over
from panel.accounts.tokens import TOKEN_BYTES, digest
from panel.core import permissions
from panel.core.errors import AlreadyExists, BadCredentials, InvalidValue, NotFound, WrongState
from panel.core.wording import Text

LIFETIME = timedelta(minutes=10)
SHORTEST = 16
"""Characters of a key that the billing system chose itself, as clients of VMmanager 5 do."""


@transaction.atomic
def issue(viewer: User, user: User, key: str | None = None, leads_to: str = "/") -> str:
    """A key that signs a browser in as `user` once, within LIFETIME, and leads to the path `leads_to`.

    `key` is one that the caller chose, SHORTEST to 128 characters; None has one made.

    Raises AccessDenied, InvalidValue and AlreadyExists (a key in use).
    """
    permissions.require(viewer, "users.open")
    require_power_over(viewer, user)
    refuse_impersonated()
    if key is not None and not SHORTEST <= len(key) <= 128:
        raise InvalidValue(Text("A key has {least} to 128 characters.", {"least": SHORTEST}), field="key")
    # A path of ours alone: "//host" and "/\\host" would lead a browser elsewhere.
    if (
        not leads_to.startswith("/")
        or leads_to[1:2] in ("/", "\\")
        or len(leads_to) > 255
        or not leads_to.isprintable()
    ):
        raise InvalidValue("“leads_to” is a path of the panel, as /vms/7/console.", field="leads_to")
    if not _is_page(leads_to, user):
        raise InvalidValue(Text("The panel has no page “{page}”.", {"page": leads_to}), field="leads_to")
    if not user.is_active:
        raise WrongState("A disabled account cannot be signed in to.", object="user", id=user.pk, state="disabled")
    text = key or secrets.token_urlsafe(TOKEN_BYTES)
    now = timezone.now()
    SigninKey.objects.filter(expires_at__lt=now).delete()
    try:
        with transaction.atomic():
            SigninKey.objects.create(
                user=user, digest=digest(text), leads_to=leads_to, created_by=viewer, expires_at=now + LIFETIME
            )
    except IntegrityError as error:
        raise AlreadyExists(field="key", object="sign-in key") from error
    after = {"leads_to": leads_to}
    journal.record(viewer, "user.signin_key", "user", user.pk, user.name, owner_id=user.pk, after=after)
    return text


def _is_page(path: str, user: User) -> bool:
    """Whether a browser that is led there as the user finds something."""
    try:
        found = resolve(urlsplit(path).path)
        for name, number in found.kwargs.items():
            if name in _FIND:
                _FIND[name](user, number)
    except (Resolver404, NotFound):
        return False
    return True


_FIND: dict[str, Callable[[User, int], object]] = {}


def find_by(name: str, find: Callable[[User, int], object]) -> None:
    """How the object is found for a viewer that pages' addresses name by this part; it raises NotFound."""
    _FIND[name] = find


@transaction.atomic
def redeem(text: str, name: str | None = None) -> tuple[User, str]:
    """The user whom the key signs in and the path that it leads to; the key is used up.

    `name` is that of the user it must be for, where the caller says one. Raises BadCredentials.
    """
    key = SigninKey.objects.select_for_update().select_related("user").filter(digest=digest(text)).first()
    if key is None or key.expires_at <= timezone.now() or not key.user.is_active or name not in (None, key.user.name):
        raise BadCredentials("This key signs nobody in: it was used, or its time is over.")
    key.delete()
    journal.record(key.user, "user.signin_key_used", "user", key.user_id, key.user.name, owner_id=key.user_id)
    return key.user, key.leads_to
