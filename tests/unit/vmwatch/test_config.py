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
    "nodes": "1 27",
}


def as_read(**more: str) -> config.MasterConfig:
    """What MASTER says, and more."""
    first = list(MASTER.values())[1:5]
    return config.MasterConfig(False, *first, nodes=frozenset({1, 27}), **more)


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
    assert config.read_master(path) == as_read()


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


KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


def test_what_may_be_absent_is_read_when_it_is_there(path: Path) -> None:
    config.write(path, {**NODE, "resync": "1", "statistics": "60", "server_key": KEY})
    assert config.read_node(path) == config.NodeConfig("tcp://10.0.0.1:1515", "S3CRET", 7, 1, 60, KEY)
    more = {"previous_secret": "OLD", "shared_secret": "ALL", "curve_public_key": KEY, "curve_secret_key": KEY[::-1]}
    config.write(path, {**MASTER, **more})
    assert config.read_master(path) == as_read(**more)


def test_the_secret_of_a_file_that_names_no_nodes_is_that_of_all(path: Path) -> None:
    config.write(path, {name: value for name, value in MASTER.items() if name != "nodes"})
    read = config.read_master(path)
    assert (read.nodes, read.shared_secret) == (None, "S3CRET")
    config.write(path, {**MASTER, "nodes": ""})
    read = config.read_master(path)
    assert (read.nodes, read.shared_secret) == (frozenset(), "")
    config.write(path, {**MASTER, "nodes": "1,x"})
    with pytest.raises(config.BadConfig, match="nodes"):
        config.read_master(path)


@pytest.mark.parametrize("key", [KEY[1:], KEY + "a", KEY[:-1] + "é", KEY[:-1] + '"'])
def test_a_key_that_is_none_is_refused_and_not_told(path: Path, key: str) -> None:
    for name in ("curve_public_key", "curve_secret_key"):
        config.write(path, {**MASTER, "curve_public_key": KEY, "curve_secret_key": KEY, name: key})
        with pytest.raises(config.BadConfig, match=name) as raised:
            config.read_master(path)
        assert key not in str(raised.value)
    config.write(path, {**NODE, "server_key": key})
    with pytest.raises(config.BadConfig, match="server_key"):
        config.read_node(path)


@pytest.mark.parametrize("name", ["curve_public_key", "curve_secret_key"])
def test_one_key_alone_is_refused(path: Path, name: str) -> None:
    config.write(path, {**MASTER, name: KEY})
    with pytest.raises(config.BadConfig, match="go together"):
        config.read_master(path)


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
