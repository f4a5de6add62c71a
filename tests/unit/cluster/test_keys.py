"""The panel's own ssh key."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from django.conf import settings

from panel.cluster import keys


def test_all_who_need_the_key_first_at_the_same_time_have_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.CONFIG, "var_dir", tmp_path)
    begin = threading.Barrier(8)
    found: set[tuple[str, str]] = set()

    def need() -> None:
        begin.wait()
        found.add((keys.private_key_path().read_text(), keys.public_key()))

    threads = [threading.Thread(target=need) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [(private, public)] = found
    key = serialization.load_ssh_private_key(private.encode(), None).public_key()
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    assert public.split()[:2] == key.public_bytes(*form).decode().split()
    assert keys.private_key_path().stat().st_mode & 0o777 == 0o600
