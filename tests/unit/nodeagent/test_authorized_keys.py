"""Where the keys are kept, and for whom; what stands in the file is told in tests/contract/test_migration.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent import authorized_keys, paths


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file is, which is not there yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    return tmp_path / ".ssh/authorized_keys"


def test_a_file_that_was_not_there_is_its_owners_alone(keys: Path) -> None:
    authorized_keys.change(lambda line: False)
    assert not keys.exists()
    authorized_keys.change(lambda line: True, "ssh-ed25519 BBBB vmpanel")
    assert (keys.stat().st_mode & 0o777, keys.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_link_to_where_the_keys_are_kept_stays_a_link(keys: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept/keys"
    kept.parent.mkdir()
    kept.write_text("ssh-ed25519 AAAA anna\n")
    keys.parent.mkdir()
    keys.symlink_to(kept)
    authorized_keys.change(lambda line: True, "ssh-ed25519 BBBB vmpanel")
    assert keys.is_symlink()
    assert kept.read_text() == "ssh-ed25519 AAAA anna\nssh-ed25519 BBBB vmpanel\n"
