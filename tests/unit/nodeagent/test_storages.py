"""Which volume lies where is for the drivers to say; an administrator's kinds are taken from files that are safe."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from nodeagent import storage as storages
from nodeagent.errors import InvalidParams
from nodeagent.protocol.storage import PoolRef, VolumeRef
from nodeagent.storage import Driver
from tests.refs import directory, ref

LOCAL, OTHER = directory("/srv/pool"), directory("/srv/other")
OWN = """
from nodeagent.storage import register
from nodeagent.storage.directory import Directory


@register
class Own(Directory):
    KIND = "own"
"""


@pytest.mark.parametrize(
    ("place", "pool"),
    [
        ("/srv/other/volumes/a.qcow2", OTHER),
        ("/srv/pool/volumes/a.qcow2", LOCAL),
        ("/srv/pool/volumes/folder/a.qcow2", None),
        ("/srv/pool/volumes/", None),
        ("/srv/pool/seeds/a.qcow2", None),
        ("/srv/pool/a.qcow2", None),
        ("name=a/b protocol=rbd", None),
        ("", None),
    ],
)
def test_a_place_is_a_volume_of_the_pool_that_has_it(place: str, pool: PoolRef | None) -> None:
    found = storages.named([LOCAL, OTHER], place)
    assert found == (None if pool is None else VolumeRef(pool, "a.qcow2"))
    assert found is None or storages.place(found) == place


def test_what_lies_in_no_pool_is_named_by_its_place_and_no_driver_touches_it() -> None:
    volume = storages.at("/etc/shadow")
    assert storages.place(volume) == "/etc/shadow"
    with pytest.raises(InvalidParams, match="knows no storages"):
        storages.volume(volume)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\0b"])
def test_a_name_that_could_lead_elsewhere_is_none(name: str) -> None:
    with pytest.raises(InvalidParams, match="not a volume's name"):
        storages.volume(VolumeRef(LOCAL, name))


def test_a_seed_is_in_the_folder_of_seeds_alone() -> None:
    seed = ref("/srv/pool/seeds/a.iso")
    assert storages.place(seed) == "/srv/pool/seeds/a.iso"
    with pytest.raises(InvalidParams):
        storages.refuse(VolumeRef(PoolRef("dir", "local", {"path": "/srv/pool", "folder": "etc"}), "a.iso"))


def test_a_kind_that_others_could_write_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys.modules[Driver.__module__], "DRIVERS", known := {})
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "own.py").chmod(0o666)
    with caplog.at_level(logging.ERROR, logger="nodeagent"):
        storages.load_own(tmp_path)
    assert known == {} and "cannot be used" in caplog.text
    (tmp_path / "own.py").chmod(0o600)
    tmp_path.chmod(0o700)
    storages.load_own(tmp_path)
    assert list(known) == ["own"]
