"""The way to the LDAP directory: encrypted, to the right host, and never waited for without end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import ldap
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from panel.accounts import directory, throttling
from panel.accounts.models import User
from panel.config import parse
from panel.core.errors import ConfigError
from tests.db.accounts.slapd import BASE, MANAGER, SECRET, SLAPD, Authority, Slapd, Wire

pytestmark = pytest.mark.skipif(not SLAPD.exists(), reason="there is no slapd; script/setup --tests installs it")

HOST = "127.0.0.1"
OWN = "dora's own"
OPTIONS = f"LdapBindDn={MANAGER}\nLdapBindPassword={SECRET}\nLdapUserSearchBase=ou=people,{BASE}\n"
Led = Callable[..., Wire]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The one that the panel trusts where a test does not say otherwise."""
    return Authority(tmp_path)


@pytest.fixture
def slapd(tmp_path: Path, authority: Authority) -> Iterator[Slapd]:
    """A directory with a certificate for 127.0.0.1."""
    throttling.client().flushall()
    server = Slapd(tmp_path, authority.issue(HOST))
    server.start()
    server.fill()
    yield server
    server.stop()


@pytest.fixture
def led() -> Iterator[Led]:
    """Makes wires, and takes them away."""
    made: list[Wire] = []

    def lead(port: int, *, hold: bool = False, greets: bytes = b"") -> Wire:
        made.append(Wire(port, hold=hold, greets=greets))
        return made[-1]

    yield lead
    for wire in made:
        wire.close()


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> Callable[..., None]:
    """Puts the directory's options in force as a configuration file would."""

    def put(uri: str, *more: str) -> None:
        lines = [f"LdapUri={uri}", f"LdapCaCertificate={authority.path}", *more]
        config = parse(OPTIONS + "\n".join(lines))
        for name in vars(config):
            if name.startswith("ldap_"):
                monkeypatch.setattr(settings.CONFIG, name, getattr(config, name))

    return put


Configure = Callable[..., None]


def _sign_in(name: str, password: str) -> int:
    return APIClient().post("/api/v1/auth/token", {"name": name, "password": password}).status_code


def _sync() -> None:
    call_command("sync_directory", stdout=StringIO())


def test_by_ldaps_they_sign_in_and_no_password_is_readable_on_the_way(
    slapd: Slapd, led: Led, configure: Configure
) -> None:
    wire = led(slapd.tls_port)
    configure(f"ldaps://{HOST}:{wire.port}")
    assert _sign_in("dora", OWN) == 201
    _sync()
    assert wire.said and OWN.encode() not in wire.said and SECRET.encode() not in wire.said


def test_by_starttls_they_sign_in_and_no_password_is_readable_on_the_way(
    slapd: Slapd, led: Led, configure: Configure
) -> None:
    wire = led(slapd.port)
    configure(f"ldap://{HOST}:{wire.port}", "LdapStartTls=yes")
    assert _sign_in("dora", OWN) == 201
    _sync()
    assert wire.said and OWN.encode() not in wire.said and SECRET.encode() not in wire.said


def test_in_the_clear_only_where_the_administrator_says_so(slapd: Slapd, led: Led, configure: Configure) -> None:
    wire = led(slapd.port)
    uri = f"ldap://{HOST}:{wire.port}"
    for refused in (uri, f"ldaps://localhost {uri}", f"ldaps://localhost,{uri}", "LDAP://localhost", "localhost"):
        with pytest.raises(ConfigError, match="LdapUnencrypted=yes"):
            configure(refused)
    with pytest.raises(ConfigError, match="LdapStartTls is for ldap://"):
        configure("ldaps://localhost", "LdapStartTls=yes")
    assert not wire.said
    configure(uri, "LdapUnencrypted=yes")
    assert _sign_in("dora", OWN) == 201
    assert OWN.encode() in wire.said


@pytest.fixture
def lenient() -> Iterator[None]:
    """The system's ldap.conf takes every certificate."""
    before = ldap.get_option(ldap.OPT_X_TLS_REQUIRE_CERT)
    ldap.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_NEVER)
    yield
    ldap.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, before)


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("way", ["ldaps", "StartTLS"])
@pytest.mark.parametrize("wrong", ["host", "authority"])
def test_a_wrong_certificate_ends_it_before_a_password_is_sent(
    slapd: Slapd, led: Led, configure: Configure, tmp_path: Path, way: str, wrong: str
) -> None:
    wire = led(slapd.tls_port if way == "ldaps" else slapd.port)
    host = "localhost" if wrong == "host" else HOST
    others = Authority(tmp_path, "others").path
    more = [] if wrong == "host" else [f"LdapCaCertificate={others}"]
    configure(
        f"{'ldaps' if way == 'ldaps' else 'ldap'}://{host}:{wire.port}",
        *more,
        *(["LdapStartTls=yes"] if way == "StartTLS" else []),
    )
    assert _sign_in("dora", OWN) == 401
    with pytest.raises(CommandError, match="does not answer"):
        _sync()
    assert wire.said and OWN.encode() not in wire.said and SECRET.encode() not in wire.said
    assert not User.objects.exclude(directory_dn="").exists()


def test_a_directory_that_refuses_starttls_gets_no_password(tmp_path: Path, led: Led, configure: Configure) -> None:
    throttling.client().flushall()
    server = Slapd(tmp_path)
    server.start()
    try:
        server.fill()
        wire = led(server.port)
        configure(f"ldap://{HOST}:{wire.port}", "LdapStartTls=yes")
        assert _sign_in("dora", OWN) == 401
        with pytest.raises(CommandError, match="does not answer"):
            _sync()
        assert wire.said and OWN.encode() not in wire.said and SECRET.encode() not in wire.said
    finally:
        server.stop()


READY = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
"""That StartTLS may begin."""
BY_HALVES = b"\x30\x0c\x02\x01\x01\x78\x07"


@pytest.mark.parametrize(
    ("scheme", "more", "greets"),
    [
        ("ldaps", "", b""),
        ("ldap", "LdapStartTls=yes", b""),
        ("ldap", "LdapStartTls=yes", READY),
        ("ldap", "LdapStartTls=yes", BY_HALVES),
        ("ldap", "LdapUnencrypted=yes", b""),
    ],
)
def test_a_directory_that_takes_calls_and_says_nothing_holds_nobody_up(
    user: User, led: Led, configure: Configure, monkeypatch: pytest.MonkeyPatch, scheme: str, more: str, greets: bytes
) -> None:
    throttling.client().flushall()
    monkeypatch.setattr(directory, "SECONDS", 1)
    wire = led(0, hold=True, greets=greets)
    configure(f"{scheme}://{HOST}:{wire.port}", more)
    began = time.monotonic()
    assert _sign_in("anna", "correct horse") == 201
    assert _sign_in("dora", OWN) == 401
    with pytest.raises(CommandError, match="does not answer"):
        _sync()
    assert time.monotonic() - began < 20
    assert OWN.encode() not in wire.said and SECRET.encode() not in wire.said
