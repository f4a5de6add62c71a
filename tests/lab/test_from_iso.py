"""A VM that an installer installs from an ISO image, on a real host."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nodeagent.xml.domain import Domain
from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.lab.test_devices import VIRSH
from tests.stack import done, wait_until

SECTOR = 512
SYSTEM = 0x7E00
"""Where the BIOS puts the second sector of what it loads from the CD at 0x7c00."""


def installed() -> bytes:
    """The first sector of a disk, whose program writes "SYS" to the serial port for as long as it runs."""
    # mov dx, 0x3f8; for each letter mov al, letter and out dx, al; mov cx, 0xffff; loop to itself; jmp to the letters
    letters = b"".join(bytes([0xB0, letter, 0xEE]) for letter in b"SYS\n") + bytes.fromhex("b9ffffe2fe")
    code = bytes.fromhex("baf803") + letters + bytes([0xEB, 256 - len(letters) - 2])
    return code.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def installer() -> bytes:
    """A program that writes installed() to the first disk and has the machine reset."""
    # xor ax, ax; mov es, ax; mov bx, SYSTEM; mov ax, 0x301 (write one sector); mov cx, 1; mov dx, 0x80; int 0x13
    write = bytes.fromhex("31c08ec0bb") + SYSTEM.to_bytes(2, "little") + bytes.fromhex("b80103b90100ba8000cd13")
    # mov dx, 0xcf9; mov al, 6; out dx, al; jmp to itself
    return (write + bytes.fromhex("baf90cb006eeebfe")).ljust(SECTOR, b"\0") + installed()


def says(node: Node, domain: str) -> str:
    """What the installed system writes to the serial port."""
    serial = node.run([*VIRSH, "ttyconsole", domain]).stdout.strip()
    return node.run(["timeout", "60", "sh", "-c", f"grep -m 1 -a SYS < {serial}"]).stdout.strip()


@pytest.fixture
def iso(api: httpx.Client, tmp_path: Path) -> Iterator[str]:
    """An ISO image with the installer, sent to the panel; it can be deleted when no VM has it any more."""
    work, file = tmp_path / "work", tmp_path / "installer.iso"
    work.mkdir()
    (work / "start.bin").write_bytes(installer().ljust(2048, b"\0"))
    argv = ["genisoimage", "-quiet", "-o", str(file), "-b", "start.bin", "-no-emul-boot", "-boot-load-size", "4"]
    subprocess.run([*argv, "-c", "boot.cat", str(work)], check=True)
    answer = api.post("isos?name=installer", content=file.read_bytes())
    assert answer.status_code == 201, answer.text
    yield str(answer.json()["name"])
    assert api.delete(f"isos/{answer.json()['id']}").status_code == 204


def test_an_installer_that_reboots_is_ejected_and_what_it_installed_is_started(
    cluster: list[Node], api: httpx.Client, iso: str
) -> None:
    node = cluster[0]
    created = api.post("vms", json={"name": "installed", "iso": iso, "flavor": "tiny", "node": node.name})
    done(api, created)
    vm = f"vms/{created.json()['vm']}"
    wait_until(lambda: not api.get(vm).json()["installing"], "the installation is over", 120)
    shown = api.get(vm).json()
    assert (shown["iso"], shown["boot_iso"], shown["status"]) == (None, False, "running")
    assert "/images/" not in node.run([*VIRSH, "domblklist", "installed"]).stdout
    assert says(node, "installed") == "SYS"
    done(api, api.delete(vm))
    assert remains(node) == NOTHING


def test_a_start_from_an_iso_is_for_once_and_a_reset_from_inside_is_from_the_disk(
    cluster: list[Node], api: httpx.Client, iso: str
) -> None:
    node = cluster[0]
    created = api.post("vms", json={"name": "once", "image": "tiny", "flavor": "tiny", "node": node.name})
    done(api, created)
    vm = f"vms/{created.json()['vm']}"
    done(api, api.post(f"{vm}/mount-iso", json={"iso": iso, "boot_once": True}))
    done(api, api.post(f"{vm}/force-off", json={}))
    assert api.get(vm).json()["boot_iso_once"]
    done(api, api.post(f"{vm}/start", json={}))
    # The installer resets the machine: were that a start from the ISO image too, it would install for ever.
    assert says(node, "once") == "SYS"
    shown = api.get(vm).json()
    assert (shown["iso"], shown["boot_iso"], shown["boot_iso_once"]) == (iso, False, False)
    # Whoever starts it now.
    for verb in ("destroy", "start"):
        node.run([*VIRSH, verb, "once"])
    described = Domain.parse(node.run([*VIRSH, "dumpxml", "once"]).stdout)
    assert [disk.target_dev for disk in described.disks if disk.boot_order == 1] == ["vda"]
    assert says(node, "once") == "SYS"
    done(api, api.delete(vm))
    assert remains(node) == NOTHING
