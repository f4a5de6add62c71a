"""Who calls where a proxy stands between, by which names the panel is known, and whose certificate it has."""

from __future__ import annotations

from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from panel.config import parse
from panel.core import own_origin, proxies
from panel.core.certificates import is_self_signed
from panel.standalone.door import server

TRUSTED = ("127.0.0.1/32", "10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("forwarded", "caller"),
    [
        ([], "127.0.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["198.51.100.1", "192.0.2.7"], "192.0.2.7"),
        (["198.51.100.1", "192.0.2.7", "10.0.0.5"], "192.0.2.7"),
        (["10.0.0.6", "10.0.0.5"], "10.0.0.6"),
        (["[2001:db8::7]:443"], "2001:db8::7"),
        (["2001:db8::7"], "2001:db8::7"),
        (["192.0.2.7:1234"], "192.0.2.7"),
        (["198.51.100.1", "unknown"], "127.0.0.1"),
        (["198.51.100.1", "nonsense", "10.0.0.5"], "10.0.0.5"),
    ],
)
def test_the_caller_is_the_last_on_the_way_whom_no_trusted_proxy_is(forwarded: list[str], caller: str) -> None:
    assert proxies.caller("127.0.0.1", forwarded, TRUSTED) == caller


@pytest.mark.parametrize(
    ("option", "peer", "seen", "scheme"),
    [
        ("", "127.0.0.1", "127.0.0.1", "http"),
        ("", "203.0.113.5", "203.0.113.5", "http"),
        ("127.0.0.1", "127.0.0.1", "192.0.2.7", "https"),
        ("127.0.0.1, 203.0.113.0/24", "203.0.113.5", "192.0.2.7", "https"),
        ("127.0.0.1", "203.0.113.5", "203.0.113.5", "http"),
    ],
)
def test_x_forwarded_for_is_believed_of_trusted_proxies_alone(
    settings: Any, option: str, peer: str, seen: str, scheme: str
) -> None:
    settings.CONFIG = parse(f"TrustedProxies={option}")
    headers = [(b"x-forwarded-for", b"198.51.100.1, 192.0.2.7"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "client": (peer, 4711), "scheme": "http", "headers": headers}
    found = proxies.seen_from(scope)
    assert (found["client"][0], found["scheme"]) == (seen, scheme)


def test_the_panels_own_server_believes_no_program_of_its_machine() -> None:
    assert server(parse("")).config.proxy_headers is False


@pytest.mark.parametrize(
    ("conf", "hosts"),
    [
        ("", ["*", "127.0.0.1"]),
        ("PublicUrl=https://panel.example.org:1500", ["panel.example.org", "127.0.0.1"]),
        (
            "PublicUrl=https://panel.example.org\nAllowedHosts=a.example, b.example",
            ["a.example", "b.example", "127.0.0.1"],
        ),
        ("PublicUrl=https://panel.example.org\nAllowedHosts=*", ["*", "127.0.0.1"]),
    ],
)
def test_the_panel_answers_to_the_name_of_its_public_address(conf: str, hosts: list[str]) -> None:
    assert parse(conf).hosts == hosts


def test_the_public_address_is_the_panels_own_besides_the_host_that_was_asked(settings: Any) -> None:
    settings.CONFIG = copy(settings.CONFIG)
    settings.CONFIG.public_url = "https://panel.example.org"
    assert own_origin.is_own("https://panel.example.org", "10.0.0.5:1500")
    assert own_origin.is_own("https://10.0.0.5:1500", "10.0.0.5:1500")
    for origin in ("https://evil.example", "http://panel.example.org", "null", ""):
        assert not own_origin.is_own(origin, "10.0.0.5:1500")
        said = own_origin.why_foreign(origin, "10.0.0.5:1500")
        assert "expects https://10.0.0.5:1500 or https://panel.example.org" in said and "PublicUrl" in said


def test_a_certificate_of_ones_own_and_none_are_told_from_one_that_somebody_signed(tmp_path: Path) -> None:
    assert is_self_signed(tmp_path / "none.crt")
    for issuer, own in (("panel.example.org", True), ("Some Authority", False)):
        path = tmp_path / "panel.crt"
        path.write_bytes(_certificate("panel.example.org", issuer))
        assert is_self_signed(path) is own


def _certificate(subject: str, issuer: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(
        issuer_name=_name(issuer),
        subject_name=_name(subject),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now,
        not_valid_after=now + timedelta(days=1),
    ).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
