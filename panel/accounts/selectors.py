"""Reading users and roles."""

from __future__ import annotations

from django.db import connections
from django.db.models import Q, QuerySet

from panel.accounts.models import Level, Role, SshKey, Token, User
from panel.accounts.system import NAME as SYSTEM
from panel.core import kinds, permissions
from panel.core.errors import NotFound


def list_users(viewer: User) -> QuerySet[User]:
    """The users that the viewer may see: with users.view all, but administrators no super one; else oneself."""
    users = User.objects.select_related("role", "limits").exclude(name=SYSTEM).order_by("pk")
    if not permissions.allows(viewer, "users.view"):
        return users.filter(pk=viewer.pk)
    return users if viewer.level != Level.ADMIN else users.exclude(level=Level.SUPER)


def search(viewer: User, text: str) -> list[kinds.Found]:
    """The first users that fit what somebody types, by a part of name or e-mail address."""
    if not permissions.allows(viewer, "users.view"):
        return []
    found = list_users(viewer).filter(Q(name__icontains=text) | Q(email__icontains=text)).order_by("name")
    return list(found.values_list("pk", "name", "email")[: kinds.MOST_FOUND])


def get_user(viewer: User, user_id: int) -> User:
    """One user; raises NotFound, also for one whom the viewer may not see."""
    user = list_users(viewer).filter(pk=user_id).first()
    if user is None:
        raise NotFound(object="user", id=user_id)
    return user


def user_named(name: str) -> User:
    """The user of that name; raises NotFound."""
    user = User.objects.filter(name=name).first()
    if user is None:
        raise NotFound(object="user", id=name, field="owner")
    return user


def name_of(user_id: int) -> dict[int, str]:
    """What a user is called, by the id; nothing for one who is no more. For streams: its connection is closed."""
    try:
        return dict(User.objects.filter(pk=user_id).values_list("pk", "name"))
    finally:
        connections.close_all()


def list_roles(viewer: User) -> QuerySet[Role]:
    """The roles, for those who see users; raises AccessDenied."""
    permissions.require(viewer, "users.view")
    return Role.objects.order_by("pk")


def get_role(viewer: User, role_id: int) -> Role:
    """One role; raises NotFound."""
    role = list_roles(viewer).filter(pk=role_id).first()
    if role is None:
        raise NotFound(object="role", id=role_id)
    return role


def require_own(viewer: User) -> None:
    """Raise AccessDenied for a way in that shows nothing of what the account itself has, as some tokens."""
    permissions.require(viewer, "account.view")


def list_tokens(viewer: User) -> QuerySet[Token]:
    """The viewer's own tokens; raises AccessDenied."""
    require_own(viewer)
    return Token.objects.filter(user=viewer)


def list_ssh_keys(viewer: User) -> QuerySet[SshKey]:
    """The viewer's own SSH keys; raises AccessDenied."""
    require_own(viewer)
    return SshKey.objects.filter(user=viewer)
