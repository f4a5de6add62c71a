"""The account in whose name the panel itself asks for tasks (cron, repairs)."""

from __future__ import annotations

from panel.accounts.models import Level, User

NAME = "system"


def system_user() -> User:
    """The panel's own account, made on first use; nobody can sign in as it."""
    user = User.objects.filter(name=NAME).first()
    return user or User.objects.create_user(NAME, level=Level.SUPER, is_active=False)
