"""Writes about accounts: users, tokens, keys."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.contrib.auth import authenticate
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone

from panel.accounts.models import Level, SshKey, Token, User
from panel.core.errors import AlreadyExists, BadCredentials

TOKEN_BYTES = 32
USED_EVERY = timedelta(minutes=1)
"""How exactly a token's last use is known; a write with every request would be dear."""


def digest(token: str) -> str:
    """What is kept of a token. It is random and long, so a plain hash is as good as a slow one."""
    return hashlib.sha256(token.encode()).hexdigest()


def create_token(user: User, name: str, expires_at: datetime | None = None) -> tuple[Token, str]:
    """A new token of the user and its text, which is shown this once."""
    text = secrets.token_urlsafe(TOKEN_BYTES)
    return Token.objects.create(user=user, name=name, digest=digest(text), expires_at=expires_at), text


def user_of_token(text: str) -> User:
    """Whose token this is; raises BadCredentials for an unknown, expired or disabled one."""
    token = Token.objects.select_related("user").filter(digest=digest(text)).first()
    now = timezone.now()
    if token is None or not token.user.is_active or (token.expires_at is not None and token.expires_at < now):
        raise BadCredentials()
    if token.last_used_at is None or now - token.last_used_at > USED_EVERY:
        Token.objects.filter(pk=token.pk).update(last_used_at=now)
    return token.user


def sign_in(request: HttpRequest, name: str, password: str) -> User:
    """The user with this name and password; raises BadCredentials, the same for every reason."""
    user = authenticate(request, username=name, password=password)
    if not isinstance(user, User):
        raise BadCredentials("The name or the password is wrong.")
    return user


@transaction.atomic
def ensure_administrator(name: str) -> tuple[User, str | None]:
    """The super administrator of that name, and the password when the account was made just now."""
    user = User.objects.filter(name=name).first()
    if user is not None:
        return user, None
    password = secrets.token_urlsafe(12)
    return User.objects.create_user(name, password, level=Level.SUPER), password


def add_ssh_key(user: User, name: str, public_key: str) -> SshKey:
    """Remember a public key that the user's new VMs let in; raises AlreadyExists for a name in use."""
    try:
        with transaction.atomic():
            return SshKey.objects.create(user=user, name=name, public_key=public_key)
    except IntegrityError as error:
        raise AlreadyExists(field="name", object="ssh key") from error
