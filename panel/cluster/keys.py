"""The panel's own ssh key and the fingerprints of others' host keys."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

COMMENT = "vmpanel"


def fingerprint(host_key: str) -> str:
    """ "SHA256:..." as OpenSSH shows it, of a key in the form "ssh-ed25519 AAAA..."."""
    blob = base64.b64decode(host_key.split()[1])
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def private_key_path() -> Path:
    """The panel's private key for its nodes (OpenSSH form, mode 0600), made on first use."""
    path = Path(settings.CONFIG.var_dir) / "keys" / "node_ed25519"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_suffix(".lock").open("w") as lock:
            # Two workers that add the first nodes at the same time must not each let in a key of their own.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _make(path)
    return path


def public_key() -> str:
    """The line of authorized_keys that lets the panel into a node."""
    return Path(f"{private_key_path()}.pub").read_text(encoding="ascii").strip()


def _make(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    Path(f"{path}.pub").write_text(f"{public.decode()} {COMMENT}\n", encoding="ascii")
    partial = path.with_suffix(f".{os.getpid()}")
    partial.touch(mode=0o600)
    partial.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    partial.rename(path)
