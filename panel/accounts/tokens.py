"""API tokens: made, narrowed to rights and addresses, recognized. Only hashes are kept."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from panel.accounts import journal
from panel.accounts.guards import refuse_impersonated, refuse_scoped
from panel.accounts.models import Token, User
from panel.core import live
from panel.core.addresses import in_ranges
from panel.core.errors import BadCredentials, InvalidValue, LimitExceeded
from panel.core.permissions import RIGHTS
from panel.core.rows import Prepared
from panel.core.validation import plain_name
from panel.core.wording import Text

TOKEN_BYTES = 32
SIGN_IN = "sign-in"
"""The name of tokens that a name and a password brought."""
USED_EVERY = timedelta(minutes=1)
"""How exactly a token's last use is known; a write with every request would be dear."""


def digest(token: str) -> str:
    """What is kept of a token. It is random and long, so a plain hash is as good as a slow one."""
    return hashlib.sha256(token.encode()).hexdigest()


@transaction.atomic
def create_token(
    user: User,
    name: str,
    expires_at: datetime | None = None,
    rights: Sequence[str] | None = None,
    addresses: Sequence[str] = (),
) -> tuple[Token, str]:
    """A new token of the user and its text, which is shown this once.

    `rights` are the only ones of the user's that it gives, None all; it is taken from the ranges `addresses`
    alone, from anywhere without any. Whoever comes in by a token makes none that gives more, lasts longer or is
    taken from elsewhere than that one; but one of sign_in_token() may make one that lasts longer, as a browser may.

    Raises InvalidValue, LimitExceeded (TokensPerUser), and AccessDenied while an administrator works in the account.
    """
    refuse_impersonated()
    for right in rights or ():
        if right not in RIGHTS:
            raise InvalidValue(Text("There is no right “{right}”.", {"right": right}), field="rights")
    if user.scope is not None:
        rights = sorted(user.scope if rights is None else user.scope & set(rights))
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidValue("A token ends in the future.", field="expires_at")
    ranges = parse_ranges(addresses, "addresses")
    if (by := user.by_token) is not None:
        ends = None if by.by_sign_in else by.expires_at
        expires_at = min((each for each in (expires_at, ends) if each is not None), default=None)
        ranges = _within(by.addresses, ranges)
    if in_the_way := _make_room(user, by_sign_in=False):
        allowed = settings.CONFIG.tokens_per_user
        raise LimitExceeded(limit="tokens", used=allowed - 1 + len(in_the_way), allowed=allowed)
    narrowed = None if rights is None else sorted(set(rights))
    return _make(Token(user=user, name=plain_name(name), expires_at=expires_at, rights=narrowed, addresses=ranges))


@transaction.atomic
def sign_in_token(user: User) -> tuple[Token, str]:
    """A token of the user, who has just proved who they are by name and password; and its text, shown this once.

    It ends after SignInTokenDays, and with the password that brought it. Of TokensPerUser such tokens the one unused
    longest gives way.

    Raises BadCredentials where the password has become another one meanwhile.
    """
    days = settings.CONFIG.sign_in_token_days
    for each in _make_room(user, by_sign_in=True):
        _forget(user, each, by="limit")
    expires_at = timezone.now() + timedelta(days=days) if days else None
    made = _make(Token(user=user, name=SIGN_IN, expires_at=expires_at, by_sign_in=True))
    # Hashing takes long enough for a change of the password in between. From its row on, the token keeps the user's
    # from being changed: a change is seen here, or ends this token too.
    if User.objects.values_list("password", flat=True).get(pk=user.pk) != user.password:
        raise BadCredentials("The name or the password is wrong.")
    return made


def _make_room(user: User, *, by_sign_in: bool) -> list[Token]:
    """Those of the user's tokens of that kind that one more has no room beside, first the one unused longest.

    What is over gives way by itself. Nothing is locked: calls at the same moment may pass the number by as many, and
    a lock of the user's row would stand against those that idempotency keys take.
    """
    tokens = Token.objects.filter(user=user, by_sign_in=by_sign_in)
    found = _in_the_way(tokens)
    if found:
        tokens.filter(expires_at__lte=timezone.now()).delete()
        found = _in_the_way(tokens)
    return found


def _in_the_way(tokens: QuerySet[Token]) -> list[Token]:
    surplus = tokens.count() + 1 - int(settings.CONFIG.tokens_per_user)
    return list(tokens.order_by(Coalesce("last_used_at", "created_at"), "pk")[: max(0, surplus)])


def _make(token: Token) -> tuple[Token, str]:
    text = secrets.token_urlsafe(TOKEN_BYTES)
    token.digest = digest(text)
    token.save()
    ends = token.expires_at and token.expires_at.isoformat()
    after = {"rights": token.rights, "addresses": token.addresses, "expires_at": ends}
    journal.record(token.user, "token.create", "token", token.pk, token.name, owner_id=token.user_id, after=after)
    return token, text


@transaction.atomic
def revoke_token(user: User, token_id: int) -> bool:
    """Make one of the user's tokens worthless; answers whether there was one.

    Raises AccessDenied as create_token(), and for any token but itself where the way in is a narrowed one.
    """
    refuse_impersonated()
    token = Token.objects.filter(user=user, pk=token_id).first()
    if token is None:
        return False
    if token != user.by_token:
        refuse_scoped(user)
    _forget(user, token)
    return True


@transaction.atomic
def end_sign_ins(viewer: User, user: User) -> None:
    """What a password brought ends with it: the user's tokens of sign_in_token(), but for the one that asks."""
    for each in Token.objects.filter(user=user, by_sign_in=True):
        if each != viewer.by_token:
            _forget(viewer, each, by="password")


def _forget(viewer: User, token: Token, **after: str) -> None:
    token_id = token.pk
    token.delete()
    live.tell_rights(token.user_id)
    journal.record(viewer, "token.revoke", "token", token_id, token.name, owner_id=token.user_id, after=after)


BY_DIGEST = Prepared(lambda known: Token.objects.select_related("user__role").filter(digest=known), "a digest")


def user_of_token(text: str, address: str = "") -> User:
    """Whose token this is, narrowed to the token's rights, for a caller from `address`.

    Raises BadCredentials for an unknown, expired or disabled one, and for one that is not taken from there.
    """
    token = BY_DIGEST.first(digest(text))
    now = timezone.now()
    if token is None or not token.user.is_active or (token.expires_at is not None and token.expires_at <= now):
        raise BadCredentials()
    if token.addresses and not in_ranges(address, token.addresses):
        raise BadCredentials("This token is not taken from this address.")
    if token.last_used_at is None or now - token.last_used_at > USED_EVERY:
        Token.objects.filter(pk=token.pk).update(last_used_at=now, last_used_from=address[:45])
    user = token.user
    user.by_token = token
    user.scope = None if token.rights is None else frozenset(token.rights)
    return user


def parse_ranges(ranges: Sequence[str], field: str) -> list[str]:
    """Address ranges, each as `ADDRESS/PREFIX`; raises InvalidValue for what is none."""
    try:
        return [str(ipaddress.ip_network(each.strip(), strict=False)) for each in ranges]
    except ValueError as error:
        raise InvalidValue("An address range is written as 192.0.2.0/24 or 2001:db8::/32.", field=field) from error


def _within(outer: Sequence[str], ranges: list[str]) -> list[str]:
    """The ranges, which must lie in those of `outer` where there are any; raises InvalidValue."""
    known = [ipaddress.ip_network(each) for each in outer]
    for each in map(ipaddress.ip_network, ranges):
        if known and not any(each.version == one.version and each.subnet_of(one) for one in known):  # type: ignore[arg-type]
            raise InvalidValue(
                Text("Your own token is taken from {addresses} alone.", {"addresses": ", ".join(outer)}),
                field="addresses",
            )
    return ranges or list(outer)
