"""A VM that an installer installs from an ISO image, on a real host."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

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


@pytest.fixture
def iso(api: httpx.Client, tmp_path: Path) -> str:
    """An ISO image with the installer, sent to the panel."""
    work, file = tmp_path / "work", tmp_path / "installer.iso"
    work.mkdir()
    (work / "start.bin").write_bytes(installer().ljust(2048, b"\0"))
    argv = ["genisoimage", "-quiet", "-o", str(file), "-b", "start.bin", "-no-emul-boot", "-boot-load-size", "4"]
    subprocess.run([*argv, "-c", "boot.cat", str(work)], check=True)
    answer = api.post("isos?name=installer", content=file.read_bytes())
    assert answer.status_code == 201, answer.text
    return str(answer.json()["name"])


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
    serial = node.run([*VIRSH, "ttyconsole", "installed"]).stdout.strip()
    read = ["timeout", "60", "sh", "-c", f"grep -m 1 -a SYS < {serial}"]
    assert node.run(read).stdout.strip() == "SYS"
    done(api, api.delete(vm))
    assert remains(node) == NOTHING
    iso_id = api.get("isos", params={"name": iso}).json()["results"][0]["id"]
    assert api.delete(f"isos/{iso_id}").status_code == 204
