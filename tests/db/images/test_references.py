"""An image that refers to other files does not get into the panel: by registering, or by sending it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from panel.core.errors import InvalidValue
from panel.images.models import Image, Iso
from panel.images.services import register_image, register_iso

ISO = b"\0" * 32769 + b"CD001" + b"\0" * 4096


def qcow2(*, backing: int = 0, features: int = 0) -> bytes:
    """The header of a qcow2 image of version 3."""
    head = b"QFI\xfb" + (3).to_bytes(4, "big") + backing.to_bytes(8, "big") + (11 if backing else 0).to_bytes(4, "big")
    return (head.ljust(72, b"\0") + features.to_bytes(8, "big")).ljust(112, b"\0") + b"/etc/shadow".ljust(400, b"\0")


REFER = {
    "a backing file": qcow2(backing=112),
    "a data file": qcow2(features=0b100),
    "a VMDK image": b'# Disk DescriptorFile\nRW 2 FLAT "/etc/shadow" 0\n',
    "a VHDX image": b"vhdxfile" + b"\0" * 100,
}


@pytest.fixture
def folder() -> Path:
    """The panel's folder of images."""
    made = Path(settings.CONFIG.images_dir)
    made.mkdir(parents=True, exist_ok=True)
    return made


def put(folder: Path, content: bytes, kind: str) -> Path:
    """An image with its description."""
    (folder / f"bad.{kind}").write_bytes(content)
    told = {"name": "bad", "title": "Bad", "os_family": "x", "sha256": "0" * 64, "virtual_bytes": 1, "format": kind}
    path = folder / "bad.json"
    path.write_text(json.dumps(told))
    return path


@pytest.mark.parametrize("said", REFER)
@pytest.mark.parametrize("kind", ["qcow2", "raw"])
def test_an_os_image_that_refers_to_other_files_is_not_registered(folder: Path, said: str, kind: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        register_image(put(folder, REFER[said], kind))
    assert not Image.objects.exists()


def test_an_os_image_is_qcow2_or_raw_and_what_it_is_said_to_be(folder: Path) -> None:
    for content, kind in ((b"COWD", "vmdk"), (b"an operating system", "qcow2")):
        with pytest.raises(InvalidValue):
            register_image(put(folder, content, kind))
    assert register_image(put(folder, qcow2(), "qcow2")).format == "qcow2"
    assert register_image(put(folder, b"an operating system", "raw")).format == "raw"


@pytest.mark.parametrize("said", REFER)
def test_an_iso_image_that_is_such_a_disk_too_is_neither_registered_nor_taken(
    folder: Path, said: str, api: APIClient
) -> None:
    content = REFER[said] + ISO[len(REFER[said]) :]
    (folder / "bad.iso").write_bytes(content)
    with pytest.raises(InvalidValue, match=said):
        register_iso(folder / "bad.iso")
    before = set((folder / "isos").glob("*"))
    answer = api.post("/api/v1/isos?name=bad", data=content, content_type="application/octet-stream")
    assert answer.status_code == 400 and said in answer.content.decode()
    assert not Iso.objects.exists()
    assert set((folder / "isos").glob("*")) == before
