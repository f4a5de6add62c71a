"""What the panel's TLS certificate is."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509


def is_self_signed(path: Path) -> bool:
    """Whether browsers take it only after a question: nobody else has signed it, or there is none to read."""
    try:
        first = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError):
        return True
    return first.issuer == first.subject
