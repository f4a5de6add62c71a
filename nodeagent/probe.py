"""Whether guests can run under KVM here: found out by running a guest CPU, not by looking for /dev/kvm."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Optional

EMULATORS = ("/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm")
# probe.S, assembled.
PROGRAM = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cbf0010b91000b8597cabb80800abb8008eab31c0abe2ef660f011680"
    "7c660f011e867c0f20c00c010f22c0ea3c7c080066b810008ed88ec08ed0bc007c000031dbfbf483"
    "fb1272fab031e6f4f460b020e6206143cf8db426000000000000000000000000ffff0000009acf00"
    "ffff00000092cf001700687c00007f0000100000"
)
EXIT_CODE = (0x31 << 1) | 1
"""What QEMU's isa-debug-exit makes of the byte that the program writes."""


def kvm_works(seconds: float, accel: str = "kvm") -> bool:
    """Whether a guest CPU under `accel` gets through the firmware and the program within `seconds`."""
    emulator = find_emulator()
    if emulator is None or (accel == "kvm" and not Path("/dev/kvm").exists()):
        return False
    with tempfile.NamedTemporaryFile(prefix="vmpanel-probe-") as disk:
        disk.write(PROGRAM.ljust(510, b"\0") + struct.pack("<H", 0xAA55))
        disk.write(bytes(127 * 512))
        disk.flush()
        argv = [emulator, "-accel", accel, "-cpu", "max", "-m", "32", "-nodefaults", "-display", "none", "-no-reboot"]
        argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        argv += ["-drive", f"file={disk.name},format=raw,if=ide,snapshot=on"]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return process.wait(seconds) == EXIT_CODE
        except subprocess.TimeoutExpired:
            return False
        finally:
            process.kill()
            process.wait()


def find_emulator() -> Optional[str]:
    """The path of the node's QEMU; None when there is none."""
    return next((path for path in EMULATORS if os.access(path, os.X_OK)), None)
