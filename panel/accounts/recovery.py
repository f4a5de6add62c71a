"""Recovery codes: each stands in once for a second factor that is lost. Only hashes of them are kept."""

from __future__ import annotations

import secrets

from panel.accounts.models import RecoveryCode, User
from panel.accounts.tokens import digest

CODES = 10
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that look alike."""


def renew(user: User) -> list[str]:
    """New codes, which are shown this once; those before are worth nothing. The caller is in a transaction."""
    codes = [_make() for _ in range(CODES)]
    forget(user)
    RecoveryCode.objects.bulk_create(RecoveryCode(user=user, digest=digest(code)) for code in codes)
    return codes


def take(user: User, code: str) -> bool:
    """Whether it is one of the user's, which is used up by that."""
    return bool(RecoveryCode.objects.filter(user=user, digest=digest(code.strip().lower())).delete()[0])


def left(user: User) -> int:
    """How many were not used yet."""
    return RecoveryCode.objects.filter(user=user).count()


def forget(user: User) -> None:
    """There are none any more."""
    RecoveryCode.objects.filter(user=user).delete()


def _make() -> str:
    letters = "".join(secrets.choice(LETTERS) for _ in range(16))
    return "-".join(letters[start : start + 4] for start in range(0, 16, 4))
