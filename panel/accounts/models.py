"""Users with their level, their API tokens and SSH keys. Rules are in services.py, reads in selectors.py."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models


class Level(models.TextChoices):
    """What kind of user this is; core/permissions.py says what each may do."""

    SUPER = "super", "Super administrator"
    ADMIN = "admin", "Administrator"
    READONLY = "readonly", "Read-only administrator"
    USER = "user", "User"


class UserManager(BaseUserManager["User"]):
    """Finds users by name and makes them with a hashed password."""

    def create_user(self, name: str, password: str | None = None, **fields: Any) -> User:
        """A saved user; no password means that signing in by password is impossible."""
        user = self.model(name=name, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """Somebody who signs in, owns VMs or runs the cluster."""

    name = models.CharField(max_length=64, unique=True)
    email = models.EmailField(blank=True)
    level = models.CharField(max_length=16, choices=Level.choices, default=Level.USER)
    may_create_vms = models.BooleanField(default=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "name"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def __str__(self) -> str:
        return self.name

    @property
    def is_admin(self) -> bool:
        """Whether the user administers the cluster (and so sees everybody's objects)."""
        return self.level in (Level.SUPER, Level.ADMIN)

    @property
    def sees_all(self) -> bool:
        """Whether the user may see everybody's objects."""
        return self.level != Level.USER


class Token(models.Model):
    """An API token; only a hash of it is kept, so it can be shown just once."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=64)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.user_id}/{self.name}"


class SshKey(models.Model):
    """A public key that the user's new VMs let in."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="ssh_keys")
    name = models.CharField(max_length=64)
    public_key = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="one_ssh_key_name_a_user")]

    def __str__(self) -> str:
        return self.name
