"""The migration tunnel from one node to another for the time of one move: an ssh connection that forwards Unix sockets.

libvirt, the guest's memory and its disks all go through it, so that nothing is sent in the open and no
port is opened. The key pair is made for the one ticket and goes with it. What only root may use (the key,
libvirt's socket) and what QEMU itself must reach (memory, disks) are in two folders.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

from nodeagent import authorized_keys, libvirt_facts, paths
from nodeagent.errors import CommandFailed, InvalidParams
from nodeagent.job import Job
from nodeagent.protocol.migration import Target
from nodeagent.run import dying_with_us, run

COMMENT = "vmpanel-migration-"
LONGEST_SOCKET = 107
"""The bytes of a Unix socket's path (unix(7))."""
OPEN_SECONDS = 20.0
LIBVIRT_SOCKETS = ("virtqemud-sock", "libvirt-sock")


def key_folder(ticket: int) -> Path:
    """What only root may use of the ticket."""
    return paths.MIGRATIONS / str(int(ticket))


def socket_folder(ticket: int) -> Path:
    """What QEMU must reach of the ticket; short, since sockets' paths are."""
    return paths.LIBVIRT_RUN / f"vmp{int(ticket):x}"


def qemu_sockets(ticket: int, name: str) -> Tuple[Path, Path]:
    """The sockets of memory and disks, the same on both nodes; raises InvalidParams for a name that is too long."""
    # libvirt's AppArmor profile of a domain allows this ending in this folder, for libvirt's own tunnel.
    found = tuple(socket_folder(ticket) / f"{letter}.tunnelmigrate.dest.{name}" for letter in ("m", "d"))
    if len(os.fsencode(str(found[0]))) > LONGEST_SOCKET:
        raise InvalidParams("The VM's name is too long to be moved.", field="name")
    return found[0], found[1]


def make_folders(ticket: int, job: Job) -> None:
    """Have both folders."""
    key_folder(ticket).mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = socket_folder(ticket)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    owner = _qemu_owner(job)
    if owner is not None:
        os.chown(folder, *owner)


def _qemu_owner(job: Job) -> Optional[Tuple[int, int]]:
    """The user and group that libvirt gives QEMU, by the label "+64055:+64055"; None where it says none."""
    for model in ET.fromstring(libvirt_facts.ask(job).host).findall("secmodel"):
        if model.findtext("model") == "dac":
            user, _, group = (model.findtext("baselabel") or "").replace("+", "").partition(":")
            if user.isdigit() and group.isdigit():
                return int(user), int(group)
    return None


def make_key(ticket: int, job: Job) -> str:
    """Have the ticket's key pair; answers its public line."""
    make_folders(ticket, job)
    path = key_folder(ticket) / "key"
    if not Path(f"{path}.pub").exists():
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{COMMENT}{int(ticket)}", "-f", str(path)], job)
    return Path(f"{path}.pub").read_text(encoding="ascii").strip()


def let_in(ticket: int, public_key: str, valid_seconds: float, job: Job) -> None:
    """Have the key in authorized_keys, for forwarding alone and not longer than that."""
    words = public_key.split()
    if len(words) != 3 or words[0] != "ssh-ed25519" or words[2] != f"{COMMENT}{int(ticket)}":
        raise InvalidParams("This is not the key of this ticket.", field="public_key")
    make_folders(ticket, job)
    # sshd reads the time in its own zone. No permitopen: with one, sshd forwards to no Unix socket.
    until = time.strftime("%Y%m%d%H%M", time.localtime(time.time() + valid_seconds + 60.0))
    limits = f'restrict,port-forwarding,command="/bin/false",expiry-time="{until}"'
    authorized_keys.change(lambda line: not _is_of(ticket, line), f"{limits} {public_key}")


def keep_out(ticket: int) -> None:
    """Have no key of the ticket in authorized_keys."""
    authorized_keys.change(lambda line: not _is_of(ticket, line))


def _is_of(ticket: int, line: str) -> bool:
    return line.split()[-1:] == [f"{COMMENT}{int(ticket)}"]


def close(ticket: int) -> None:
    """Have nothing of the ticket on this node."""
    end_receiver(ticket)
    keep_out(ticket)
    for folder in (key_folder(ticket), socket_folder(ticket)):
        shutil.rmtree(folder, ignore_errors=True)


def libvirt_socket() -> str:
    """Where libvirt listens here."""
    for name in LIBVIRT_SOCKETS:
        if (paths.LIBVIRT_RUN / name).exists():
            return str(paths.LIBVIRT_RUN / name)
    return str(paths.LIBVIRT_RUN / LIBVIRT_SOCKETS[-1])


@contextlib.contextmanager
def open_through(ticket: int, target: Target, forwards: Dict[Path, str], job: Job) -> Iterator[None]:
    """Have each socket of `forwards` lead to the target's while the block runs; dies with this thread.

    Raises CommandFailed with ssh's words when the target does not let us in.
    """
    folder = key_folder(ticket)
    if not (folder / "key").exists():
        raise InvalidParams("This node has no key for this ticket.", field="ticket")
    (folder / "known_hosts").write_text(f"target {target.host_key}\n", encoding="ascii")
    argv = ["ssh", "-N", "-F", "/dev/null", "-i", str(folder / "key"), "-p", str(int(target.port)), "-l", target.user]
    for name, value in _options(folder, target).items():
        argv += ["-o", f"{name}={value}"]
    for here, there in forwards.items():
        argv += ["-L", f"{here}:{there}"]
    argv += ["--", target.address]
    for path in forwards:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    process = subprocess.Popen(
        [*dying_with_us(), *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _wait_until_open(process, forwards, job)
        yield
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
        for path in forwards:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _options(folder: Path, target: Target) -> Dict[str, str]:
    return {
        "BatchMode": "yes",
        # The target's banner would stand where ssh's own words are looked for.
        "LogLevel": "ERROR",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(folder / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": "target",
        "ExitOnForwardFailure": "yes",
        # The socket's folder is what keeps others out.
        "StreamLocalBindMask": "0111",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "4",
        "ConnectTimeout": "15",
        "Ciphers": "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr",
    }


def _wait_until_open(process: subprocess.Popen[bytes], forwards: Dict[Path, str], job: Job) -> None:
    until = time.monotonic() + OPEN_SECONDS
    while not all(path.exists() for path in forwards):
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            words = process.communicate()[1].decode(errors="replace").strip()
            last = words.splitlines()[-1] if words else "no answer"
            raise CommandFailed(f"The target cannot be reached by ssh: {last}", argv0="ssh", exit_code=255)
        job.wait(0.02)


def receiver_socket(ticket: int) -> Path:
    """Where a volume's content arrives, on both nodes."""
    return key_folder(ticket) / "volume.sock"


def receiver_pid(ticket: int) -> Path:
    """Where the process is written down that takes it."""
    return key_folder(ticket) / "volume.pid"


def end_receiver(ticket: int) -> None:
    """Have nobody receive for the ticket; what arrived is written when this returns."""
    path = receiver_pid(ticket)
    try:
        pid = int(path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return
    while _is_receiver(pid, ticket):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.02)
    for each in (path, receiver_socket(ticket)):
        with contextlib.suppress(FileNotFoundError):
            each.unlink()


def _is_receiver(pid: int, ticket: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"qemu-nbd" in words and os.fsencode(str(receiver_socket(ticket))) in words
