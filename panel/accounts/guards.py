"""What is refused whatever rights somebody has: by the way in, and by whom it would be done to."""

from __future__ import annotations

from panel.accounts.models import Level, User
from panel.core import origin
from panel.core.errors import AccessDenied


def refuse_impersonated() -> None:
    """Raise AccessDenied while an administrator works in the account: what lets somebody in, or is told things, is its
    user's alone, so that nothing of the administrator's stays there."""
    if origin.current().impersonated_by:
        raise AccessDenied(
            "You work in this account as an administrator: its password, e-mail address, second factors, tokens, "
            "sign-in keys, SSH keys and webhooks are changed by its user alone.",
            permission="users.open",
        )


def refuse_scoped(viewer: User) -> None:
    """Raise AccessDenied for a way in that gives only some of the account's rights, as a scoped token."""
    if viewer.scope is not None:
        raise AccessDenied("This token gives single rights, and this is the whole account's.", permission="account")


def require_power_over(viewer: User, user: User) -> None:
    """Raise AccessDenied unless the viewer may act upon the user: below super administrators only on users."""
    if viewer.level != Level.SUPER and user.level != Level.USER:
        raise AccessDenied("Only a super administrator may do this to an administrator.", permission="users.manage")
