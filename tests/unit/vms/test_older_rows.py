"""What an older release stored of volumes, by their paths, is read."""

from __future__ import annotations

from importlib import import_module

from nodeagent.protocol import from_dict
from nodeagent.protocol.audit import UnmanagedDetails
from nodeagent.storage import at
from panel.storage.models import Pool, Volume
from panel.vms.operations.move_checks import copied_bytes


def test_a_move_that_an_older_release_began_knows_what_it_copies() -> None:
    pool = Pool(name="local", options={"path": "/var/lib/vmpanel/pool"})
    volume, other = Volume(pk=3, pool=pool, file_name="a.qcow2"), Volume(pk=4, pool=pool, file_name="b.qcow2")
    for stored in ({"3": 1024}, {"/var/lib/vmpanel/pool/volumes/a.qcow2": 1024}):
        assert (copied_bytes(stored, volume), copied_bytes(stored, other)) == (1024, None)


def test_disks_of_unmanaged_domains_are_named_by_their_places() -> None:
    migration = import_module("panel.vms.migrations.0016_disks_by_place")
    old = {"path": "/srv/a.img", "format": "raw", "target": "vda", "bus": "virtio", "cache": "none"}
    new = migration._disk(old)
    assert migration._disk(new) == new
    (disk,) = from_dict(UnmanagedDetails, {"disks": [new]}).disks
    assert (disk.volume, disk.format, disk.target) == (at("/srv/a.img"), "raw", "vda")
