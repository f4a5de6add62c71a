"""Users of an LDAP directory: signing in by the directory's password, levels and roles by its groups, who is gone.

django-auth-ldap searches and binds; what a user is then, is decided here. An account of the panel's own is never
taken over by a name in the directory. While the directory is away its users cannot sign in; all others can.
"""

from __future__ import annotations

import logging
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

import ldap
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django_auth_ldap.backend import LDAPBackend
from django_auth_ldap.config import GroupOfNamesType, LDAPSearch
from ldap.filter import escape_filter_chars

from panel.accounts import journal
from panel.accounts.models import Level, Role, User
from panel.accounts.services import Name, public, set_active
from panel.accounts.session_store import drop_all
from panel.accounts.system import system_user
from panel.core.errors import ConfigError, InvalidValue, WrongState
from panel.core.texts import is_plain
from panel.core.validation import Params, parse

log = logging.getLogger(__name__)

SECONDS = 5
"""How long the directory may take to answer."""
START_TLS = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x16" + b"1.3.6.1.4.1.1466.20037"
"""The extended request, as message 1."""
SUCCESS = b"\x0a\x01\x00"
"""The resultCode of an answer."""
LONGEST_REPLY = 65536


class _Named(Params):
    name: Name


class Directory(LDAPBackend):  # type: ignore[misc]
    """The directory of the options Ldap*; making one raises ldap.SERVER_DOWN where it is away."""

    def __init__(self) -> None:
        self.before: dict[str, Any] = {}
        """What the account was before the directory was asked; nothing for a new one."""
        config = settings.CONFIG
        self.default_settings = {
            "SERVER_URI": _alive(config.ldap_uri),
            "START_TLS": config.ldap_start_tls,
            "BIND_DN": config.ldap_bind_dn,
            "BIND_PASSWORD": config.ldap_bind_password,
            "CONNECTION_OPTIONS": _options(),
            "USER_SEARCH": LDAPSearch(config.ldap_user_search_base, ldap.SCOPE_SUBTREE, config.ldap_user_filter),
        }
        if config.ldap_group_search_base:
            self.default_settings["GROUP_TYPE"] = GroupOfNamesType()
            self.default_settings["GROUP_SEARCH"] = LDAPSearch(
                config.ldap_group_search_base, ldap.SCOPE_SUBTREE, "(objectClass=groupOfNames)"
            )

    def get_or_build_user(self, username: str, ldap_user: Any) -> tuple[User, bool]:
        """The account of the directory's user, made of what the directory says now; the caller saves it."""
        user = User.objects.filter(directory_dn=ldap_user.dn).first()
        if user is None:
            user = User.objects.filter(name=username).first() or User(name=_name(username, ldap_user))
        built = user.pk is None
        if user.pk is not None and not user.directory_dn:
            log.warning("%r of the directory is an account of the panel's own: it stays that", username)
            raise ldap_user.AuthenticationFailed("there is another account of that name")
        self.before = public(user) if user.pk is not None else {}
        user.directory_dn = ldap_user.dn
        user.email = _email(ldap_user.attrs)
        if settings.CONFIG.ldap_group_search_base:
            user.level, user.role = level_of(ldap_user.group_names)
        return user, built


def _name(username: str, ldap_user: Any) -> str:
    try:
        return parse(_Named, {"name": username.lower()}).name
    except InvalidValue as error:
        raise ldap_user.AuthenticationFailed("the panel has no such names") from error


def _email(attributes: Any) -> str:
    found = str((attributes.get("mail") or [""])[0])[:254]
    return found if is_plain(found) else ""


def level_of(groups: set[str]) -> tuple[str, Role | None]:
    """The level and role of a member of these groups: by the first group of LdapRoles, else by LdapAdminGroup."""
    for group, role in roles_of_groups():
        if group in groups:
            found = Role.objects.filter(name=role).first()
            if found is not None:
                return found.level, found
            log.warning("LdapRoles names the role %r, which there is not", role)
    return (Level.ADMIN if settings.CONFIG.ldap_admin_group in groups else Level.USER), None


def roles_of_groups() -> list[tuple[str, str]]:
    """Each group of LdapRoles with the role of its members; raises ConfigError."""
    pairs = []
    for each in filter(None, (part.strip() for part in settings.CONFIG.ldap_roles.split(","))):
        group, separator, role = each.partition(":")
        if not separator:
            raise ConfigError("LdapRoles is a list of GROUP:ROLE, separated by commas.", option="LdapRoles")
        pairs.append((group.strip().removeprefix("cn="), role.strip()))
    return pairs


def is_configured() -> bool:
    """Whether there is a directory."""
    return bool(settings.CONFIG.ldap_uri)


def authenticate(request: HttpRequest | None, name: str, password: str) -> User | None:
    """The user whom the directory knows by this name and password, made on first sight; None also while it is away."""
    try:
        directory = Directory()
        with transaction.atomic():
            user = directory.authenticate(request, username=name, password=password)
            if not isinstance(user, User) or not user.is_active:
                return None
            _record(user, directory.before)
    except ldap.LDAPError as error:
        log.warning("the directory does not answer: %s", error)
        return None
    # The library's memory of the conversation ends with it.
    return User.objects.get(pk=user.pk)


def _record(user: User, before: dict[str, Any]) -> None:
    earlier, now = journal.changed(before, public(user))
    if {"level", "role"} & now.keys():
        drop_all(user)
    if now:
        action = "user.change" if before else "user.create"
        after = {**now, "by": "directory"}
        journal.record(user, action, "user", user.pk, user.name, owner_id=user.pk, before=earlier, after=after)


def synchronize() -> dict[str, int]:
    """Disable the directory's users who are gone from it, and bring the others' e-mail, level and role up to date.

    Answers how many of each. Raises ldap.LDAPError, and then nobody is disabled: not seen is gone only when the
    directory was asked and said so. Who comes back is enabled by an administrator.
    """
    counts = {"gone": 0, "changed": 0, "seen": 0}
    gone = []
    directory = Directory()
    connection = _connect()
    try:
        for user in User.objects.exclude(directory_dn="").filter(is_active=True).select_related("role").order_by("pk"):
            if not _is_there(connection, user):
                gone.append(user)
                continue
            counts["seen"] += 1
            with transaction.atomic():
                found = directory.populate_user(user.name)
                if found is not None and public(found) != directory.before:
                    _record(found, directory.before)
                    counts["changed"] += 1
    finally:
        connection.unbind_s()
    for user in gone:
        try:
            set_active(system_user(), user, False)
            counts["gone"] += 1
        except WrongState as error:
            log.warning("%s is gone from the directory and stays: %s", user.name, error.message)
    return counts


def _alive(uris: str) -> str:
    """The directory's addresses without those that are to speak TLS and do not; raises ldap.SERVER_DOWN for none.

    Debian's libldap tries a TLS handshake for ever, whatever timeouts it is given: the thread would never come back.
    """
    by_tls = ("ldaps", "ldap") if settings.CONFIG.ldap_start_tls else ("ldaps",)
    each = uris.replace(",", " ").split()
    found = [uri for uri in each if urlsplit(uri).scheme not in by_tls or _answers(uri)]
    if not found:
        raise ldap.SERVER_DOWN({"desc": f"No answer by TLS from {uris} within {SECONDS} s"})
    return " ".join(found)


def _answers(uri: str) -> bool:
    parts = urlsplit(uri)
    starts_plain = parts.scheme == "ldap"
    # Whether it is the right one is judged when it is asked something: nothing is said to it here.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = parts.port or (389 if starts_plain else 636)
    try:
        with socket.create_connection((parts.hostname or "localhost", port), SECONDS) as plain:
            if starts_plain and not _starts_tls(plain):
                # It refuses, which libldap will be told too.
                return True
            with context.wrap_socket(plain, server_hostname=parts.hostname):
                return True
    except ssl.SSLError:
        # It spoke, and libldap may like it better.
        return True
    except OSError:
        return False


def _starts_tls(plain: socket.socket) -> bool:
    """Whether the server is ready to shake hands now (RFC 4511, 4.14); raises OSError for one that says nothing."""
    plain.sendall(START_TLS)
    size = _receive(plain, 2)[1]
    if size & 0x80:
        size = int.from_bytes(_receive(plain, size & 0x7F), "big")
    if size > LONGEST_REPLY:
        raise ConnectionError("this is no answer to StartTLS")
    return SUCCESS in _receive(plain, size)


def _receive(plain: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (part := plain.recv(size - len(data))):
            raise ConnectionError("the directory hung up")
        data += part
    return data


def _options() -> dict[int, Any]:
    """What every connection is told, in this order."""
    options = {
        ldap.OPT_NETWORK_TIMEOUT: SECONDS,
        ldap.OPT_TIMEOUT: SECONDS,
        # Servers that refer to others would have the panel's password sent there.
        ldap.OPT_REFERRALS: 0,
        # Whatever ldap.conf says: a certificate of nobody's, or for another host, ends it before a password is sent.
        ldap.OPT_X_TLS_REQUIRE_CERT: ldap.OPT_X_TLS_DEMAND,
    }
    if settings.CONFIG.ldap_ca_certificate:
        options[ldap.OPT_X_TLS_CACERTFILE] = settings.CONFIG.ldap_ca_certificate
    # Last: what was said of TLS is in force from here on.
    options[ldap.OPT_X_TLS_NEWCTX] = 0
    return options


def _connect() -> Any:
    config = settings.CONFIG
    connection = ldap.initialize(_alive(config.ldap_uri))
    for option, value in _options().items():
        connection.set_option(option, value)
    if config.ldap_start_tls:
        connection.start_tls_s()
    connection.simple_bind_s(config.ldap_bind_dn, config.ldap_bind_password)
    return connection


def _is_there(connection: Any, user: User) -> bool:
    config = settings.CONFIG
    wanted = config.ldap_user_filter % {"user": escape_filter_chars(user.name)}
    found = connection.search_s(config.ldap_user_search_base, ldap.SCOPE_SUBTREE, wanted, ["1.1"])
    # Referrals come as entries without a name.
    return any(dn for dn, _ in found)
