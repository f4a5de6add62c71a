"""The distribution's Chromium, as tests, benches and script/screenshots start it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, BrowserType

# As root, and without the talk with its maker that a closed network would refuse many times a second.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launch(chromium: BrowserType, *arguments: str) -> Browser:
    """One that runs."""
    return chromium.launch(executable_path="/usr/bin/chromium", args=[*ARGUMENTS, *arguments])


def trusting(chromium: BrowserType, certificate: Path) -> Browser:
    """One that takes a panel's own certificate for a good one: of others it keeps nothing in its cache."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    raw = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    trusted = base64.b64encode(hashlib.sha256(raw).digest()).decode()
    return launch(chromium, f"--ignore-certificate-errors-spki-list={trusted}")
