"""A libvirtd of a test's own: unprivileged, with libvirt's test driver, in a folder of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.contract.vmwatch_daemons import wait_until

PROGRAM = "/usr/sbin/libvirtd"


@dataclass(frozen=True)
class OwnLibvirtd:
    """One that listens."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "libvirt-sock"

    @property
    def uri(self) -> str:
        """Its test driver."""
        return uri_of(self.socket)


def uri_of(socket: Path) -> str:
    """The test driver of the libvirtd that listens there."""
    return f"test+unix:///default?socket={socket}"


@contextlib.contextmanager
def own_libvirtd() -> Iterator[OwnLibvirtd]:
    """It runs and listens; nothing of it is left afterwards."""
    # Not in pytest's folder, which is for root alone.
    folder = Path(tempfile.mkdtemp(prefix="own-libvirtd-"))
    conf = folder / "libvirtd.conf"
    conf.write_text(f'unix_sock_dir="{folder}"\nauth_unix_rw="none"\n')
    shutil.chown(folder, "nobody")
    own = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), str(folder))
    process = subprocess.Popen(
        [PROGRAM, "-f", str(conf), "-p", str(folder / "pid")],
        user="nobody",
        group="nogroup",
        extra_groups=[],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **own},
        stderr=subprocess.DEVNULL,
    )
    made = OwnLibvirtd(folder, process)
    try:
        wait_until(made.socket.exists, "libvirtd listens")
        yield made
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)
