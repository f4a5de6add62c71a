"""Reading users."""

from __future__ import annotations

from panel.accounts.models import User
from panel.core.errors import NotFound


def user_named(name: str) -> User:
    """The user of that name; raises NotFound."""
    user = User.objects.filter(name=name).first()
    if user is None:
        raise NotFound(object="user", id=name, field="owner")
    return user
