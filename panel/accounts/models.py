"""Users with their level, role and limits; sessions, second factors, tokens, SSH keys, sign-in keys; the journal.

Rules are in services.py and its neighbours (sessions, second_factor, roles, tokens, signin_keys), reads in
selectors.py.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from panel.core import permissions
from panel.core.rows import QuickModel


class Level(models.TextChoices):
    """What kind of user this is; core/permissions.py says what each may do."""

    SUPER = "super", "Super administrator"
    ADMIN = "admin", "Administrator"
    READONLY = "readonly", "Read-only administrator"
    USER = "user", "User"


class Role(models.Model):
    """Single rights, composed by an administrator, that accounts of a level have instead of all the level's."""

    name = models.CharField(max_length=64, unique=True)
    level = models.CharField(max_length=16, choices=Level.choices)
    rights = models.JSONField(default=list)
    withheld = models.JSONField(default=list, blank=True)
    """Operations, and functions of the classic API, that it does not let in though their right is there."""

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Finds users by name and makes them with a hashed password."""

    def create_user(self, name: str, password: str | None = None, **fields: Any) -> User:
        """A saved user; no password means that signing in by password is impossible."""
        user = self.model(name=name, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(QuickModel, AbstractBaseUser):
    """Somebody who signs in, owns VMs or runs the cluster."""

    scope: frozenset[str] | None = None
    """The rights that the way in leaves of the user's own, such as a token's; None leaves all. Not stored."""
    by_token: Token | None = None
    """The token that is the way in. Not stored."""

    name = models.CharField(max_length=64, unique=True)
    email = models.EmailField(blank=True)
    level = models.CharField(max_length=16, choices=Level.choices, default=Level.USER)
    role = models.ForeignKey(Role, null=True, blank=True, on_delete=models.PROTECT, related_name="users")
    may_create_vms = models.BooleanField(default=True)
    is_active = models.BooleanField(default=True)
    directory_dn = models.CharField(max_length=512, blank=True)
    """Where the LDAP directory has the user and alone knows the password; "" for an account of the panel's own."""
    created_at = models.DateTimeField(auto_now_add=True)
    language = models.CharField(max_length=8, blank=True)
    """In which the user reads pages, of core/wording.py's LANGUAGES; "" leaves it to the browser."""
    time_zone = models.CharField(max_length=64, blank=True)
    """The name in the IANA database of the zone in which pages tell times; "" is UTC."""
    page_settings = models.JSONField(default=dict, blank=True)
    """How the user has pages look: `theme`, and `columns` by the lists' names."""

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "name"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def __str__(self) -> str:
        return self.name

    @property
    def rights(self) -> frozenset[str]:
        """All rights that the account has now: its level's or its role's, as far as the way in leaves them."""
        if self.role_id is None or self.role is None:
            rights = permissions.BY_LEVEL.get(self.level, frozenset())
        else:
            most = permissions.MOST_BY_LEVEL.get(self.level, frozenset())
            rights = (permissions.ALWAYS | frozenset(self.role.rights)) & most
        if not self.may_create_vms:
            rights -= {"vms.create"}
        return rights if self.scope is None else rights & self.scope

    @property
    def withheld(self) -> frozenset[str]:
        """Operations and functions of the classic API that the account may not ask for, whatever its rights."""
        return frozenset() if self.role_id is None or self.role is None else frozenset(self.role.withheld)

    @property
    def sees_all(self) -> bool:
        """Whether the user may see everybody's objects."""
        return self.level != Level.USER


class Limits(models.Model):
    """How much an account may have at most; None is without limit. An account without a row has none."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="limits")
    vms = models.PositiveIntegerField(null=True, blank=True)
    memory_mib = models.PositiveIntegerField(null=True, blank=True)
    vcpus = models.PositiveIntegerField(null=True, blank=True)
    disk_gib = models.PositiveIntegerField(null=True, blank=True)
    addresses = models.PositiveIntegerField(null=True, blank=True)
    iso_count = models.PositiveIntegerField(null=True, blank=True)
    iso_mib = models.PositiveIntegerField(null=True, blank=True)
    snapshots = models.PositiveIntegerField(null=True, blank=True)
    """Of each VM."""

    class Meta:
        verbose_name_plural = "limits"

    def __str__(self) -> str:
        return f"limits of {self.user_id}"


class BrowserSession(models.Model):
    """A browser's session, of whoever is signed in or nobody yet; written by session_store.py."""

    id = models.CharField(max_length=64, primary_key=True)
    """A hash of the key that the browser holds: who reads the database signs in nowhere."""
    data = models.TextField()
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="sessions")
    impersonated_by = models.ForeignKey(
        User, null=True, on_delete=models.CASCADE, related_name="impersonating_sessions"
    )
    """The administrator who works in the user's account."""
    by = models.CharField(max_length=16, blank=True)
    """How the user proved who they are: "password", "code", "security key", "key" (of one use) or "opened"."""
    address = models.CharField(max_length=45, blank=True)
    agent = models.CharField(max_length=255, blank=True)
    """What the browser calls itself, shortened: which one it is stands at the end."""
    created_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"of {self.user_id}"


class Totp(models.Model):
    """A user's second factor: codes of an authenticator app; in force once one of them was given."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="totp")
    sealed = models.BinaryField()
    """The secret, by core/secretbox.py."""
    confirmed_at = models.DateTimeField(null=True)
    last_step = models.BigIntegerField(default=0)
    """The time step of the last code that was taken: it and those before are worth nothing."""

    class Meta:
        verbose_name_plural = "second factors"

    def __str__(self) -> str:
        return f"of {self.user_id}"


class SecurityKey(models.Model):
    """A user's second factor: a key by WebAuthn, such as a USB stick or what a phone keeps behind a fingerprint."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="security_keys")
    name = models.CharField(max_length=64)
    credential_id = models.BinaryField()
    digest = models.CharField(max_length=64, unique=True)
    """A hash of credential_id, which may be too long for an index."""
    public_key = models.BinaryField()
    """As COSE has it. There is no secret of the key in the panel."""
    sign_count = models.BigIntegerField(default=0)
    """How often it signed, as it says itself; one that never counts says 0."""
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="one_security_key_name_a_user")]

    def __str__(self) -> str:
        return self.name


class RecoveryCode(models.Model):
    """A code that stands in once for the app or the key, if that is lost; the row goes with its use."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "digest"], name="one_recovery_code")]

    def __str__(self) -> str:
        return f"of {self.user_id}"


class Token(models.Model):
    """An API token; only a hash of it is kept, so it can be shown just once."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=64)
    digest = models.CharField(max_length=64, unique=True)
    rights = models.JSONField(null=True, blank=True)
    """The names of the only rights that it gives of its user's; None gives all."""
    addresses = models.JSONField(default=list, blank=True)
    """The address ranges from which it is taken, as "192.0.2.0/24"; none takes it from anywhere."""
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_from = models.CharField(max_length=45, blank=True)
    by_sign_in = models.BooleanField(default=False)
    """Whether a name and a password brought it, as a browser's session: it ends and gives way to later ones."""

    def __str__(self) -> str:
        return f"{self.user_id}/{self.name}"

    @property
    def is_limited(self) -> bool:
        """Whether it gives less than its user has, or for a time: what it makes then gives and lasts no more."""
        return self.rights is not None or (self.expires_at is not None and not self.by_sign_in)


class SigninKey(models.Model):
    """A key that signs a browser in once as its user, made for a billing system; only a hash of it is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="signin_keys")
    digest = models.CharField(max_length=64, unique=True)
    leads_to = models.CharField(max_length=255, default="/")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"for {self.user_id}"


class SshKey(models.Model):
    """A public key that the user's new VMs let in."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="ssh_keys")
    name = models.CharField(max_length=64)
    public_key = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="one_ssh_key_name_a_user")]

    def __str__(self) -> str:
        return self.name


class JournalQuerySet(models.QuerySet["JournalEntry"]):
    """Entries are read and added; what is written stays as it is."""

    def update(self, **kwargs: Any) -> NoReturn:
        """Never."""
        raise TypeError("the journal is append-only")

    def delete(self) -> NoReturn:
        """Never here; journal.purge() forgets by age alone."""
        raise TypeError("the journal is append-only")


class JournalEntry(models.Model):
    """Who did what to which object, when, from where and by which request; append-only.

    Names stand beside ids, so that an entry can be read when its objects are gone.
    """

    at = models.DateTimeField(auto_now_add=True)
    user_id = models.BigIntegerField(null=True)
    user_name = models.CharField(max_length=64)
    impersonated_by = models.CharField(max_length=64, blank=True)
    """The administrator who worked in the user's account."""
    action = models.CharField(max_length=64)
    object_type = models.CharField(max_length=32)
    object_id = models.BigIntegerField(null=True)
    object_name = models.CharField(max_length=255, blank=True)
    owner_id = models.BigIntegerField(null=True)
    """Whose object it is: they read the entry too."""
    door = models.CharField(max_length=16)
    address = models.CharField(max_length=45, blank=True)
    request_id = models.CharField(max_length=64)
    task_id = models.BigIntegerField(null=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)

    objects = JournalQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "journal"
        indexes = [
            models.Index(fields=["at"], name="journal_at"),
            models.Index(fields=["object_type", "object_id", "id"], name="journal_object"),
            models.Index(fields=["user_id", "id"], name="journal_user"),
            models.Index(fields=["user_name", "id"], name="journal_user_name"),
            models.Index(fields=["object_name", "id"], name="journal_object_name"),
            models.Index(fields=["owner_id", "id"], name="journal_owner"),
            models.Index(fields=["action", "id"], name="journal_action"),
            models.Index(fields=["request_id"], name="journal_request"),
        ]

    def __str__(self) -> str:
        return f"{self.user_name}: {self.action} {self.object_name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add it; raises TypeError for one that is there already."""
        if self.pk is not None:
            raise TypeError("the journal is append-only")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Never."""
        raise TypeError("the journal is append-only")
