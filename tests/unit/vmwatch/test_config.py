"""The two configuration files."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmwatch import config

NODE = {"connect": "tcp://10.0.0.1:1515", "secret": "S3CRET", "node_id": "7"}
MASTER = {
    "disabled": "no",
    "listen": "tcp://10.0.0.1:1515",
    "secret": "S3CRET",
    "panel": "https://127.0.0.1:1500",
    "certificate": "/var/lib/vmpanel/tls/panel.crt",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a configuration file is to be."""
    return tmp_path / "etc" / "vmwatch.conf"


def text(path: Path, lines: str) -> Path:
    """The file with these lines."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(lines, encoding="utf-8")
    return path


def test_what_was_written_is_read(path: Path) -> None:
    assert config.write(path, NODE)
    assert config.read_node(path) == config.NodeConfig("tcp://10.0.0.1:1515", "S3CRET", 7, config.RESYNC_SECONDS)
    config.write(path, MASTER)
    assert config.read_master(path) == config.MasterConfig(False, *list(MASTER.values())[1:])


def test_a_file_is_written_for_its_owner_alone_and_leaves_nothing_beside_it(path: Path) -> None:
    config.write(path, NODE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_file_with_a_wider_mode_is_narrowed(path: Path) -> None:
    config.write(path, NODE)
    path.chmod(0o644)
    assert not config.write(path, NODE)
    assert path.stat().st_mode & 0o777 == 0o600


def test_only_a_change_is_a_change(path: Path) -> None:
    assert config.write(path, NODE)
    assert not config.write(path, NODE)
    assert config.write(path, {**NODE, "node_id": "8"})


def test_a_value_cannot_bring_a_line_of_its_own(path: Path) -> None:
    with pytest.raises(config.BadConfig, match="connect"):
        config.write(path, {**NODE, "connect": "tcp://x:1\nsecret=MINE"})
    assert not path.exists()


def test_comments_blank_lines_and_spaces_do_no_harm(path: Path) -> None:
    text(path, "# ours\n\n connect = tcp://h:1 \nsecret=A=B\nnode_id=1\nresync=0.5\n")
    assert config.read_node(path) == config.NodeConfig("tcp://h:1", "A=B", 1, 0.5)


def test_a_disabled_master_needs_nothing_else(path: Path) -> None:
    assert config.read_master(text(path, "disabled=yes\n")).disabled


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("connect\n", ":1"),
        ("connect=a\nconnect=b\n", ":2"),
        ("connect=tcp://h:1\nsecret=A\n", "node_id"),
        ("connect=tcp://h:1\nsecret=\nnode_id=1\n", "secret"),
        ("connect=tcp://h:1\nsecret=A\nnode_id=one\n", "node_id"),
        ("connect=tcp://h:1\nsecret=A\nnode_id=-1\n", "node_id"),
        *((f"connect=tcp://h:1\nsecret=A\nnode_id=1\nresync={value}\n", "resync") for value in ("0", "nan", "x", "-1")),
    ],
)
def test_an_error_names_the_file_and_the_place_once(path: Path, lines: str, named: str) -> None:
    with pytest.raises(config.BadConfig) as raised:
        config.read_node(text(path, lines))
    assert named in str(raised.value)
    assert str(raised.value).count(str(path)) == 1


def test_a_missing_or_binary_file_is_said(path: Path) -> None:
    with pytest.raises(config.BadConfig, match="No such file"):
        config.read_master(path)
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(config.BadConfig, match="UTF-8"):
        config.read_master(path)
