"""What can be seen and taken away on a host with nothing but its Python, before and without an agent.

The panel sends this file's text to the host's Python, which keeps it nowhere (panel/cluster/bare.py): so it
imports nothing of ours. look() changes nothing; take_away() leaves nothing of one panel's one node.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

ROOT = Path(os.environ.get("VMPANEL_NODE_ROOT", "/"))
STATE = ROOT / "var/lib/vmpanel"
LIB = ROOT / "usr/lib/vmpanel"
ETC = ROOT / "etc/vmpanel"
RUN = ROOT / "run/vmpanel"
MARKER = STATE / "node.json"
FILES = (LIB / "vmwatch.pyz", LIB / "nodeagent.pyz", ETC / "vmwatch-node.conf", MARKER)
UNITS = ("vmwatch-node.service", "vmpanel-network.service")
SYSTEM_UNITS = Path("/etc/systemd/system")
PLACES = (LIB, STATE, ETC, RUN, ROOT / "var/log/vmpanel")
SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REACH_SECONDS = 3.0
SSHD_SECONDS = 10.0
STOP_SECONDS = 10.0
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def look(request: Dict[str, Any]) -> Dict[str, Any]:
    """What the host is to us: who signs in, where we could write, what sshd lets us do, whose node it is.

    `reach` are addresses of the panel, as [host, port]; each is answered by why it cannot be reached, empty if it can.
    """
    account = pwd.getpwuid(os.geteuid())
    keys = authorized_keys(account.pw_dir)
    return {
        "uid": account.pw_uid,
        "user": account.pw_name,
        "home": account.pw_dir,
        "machine": platform.machine(),
        "time": time.time(),
        "places": {str(place): _place(place) for place in (*PLACES, keys.parent)},
        "sshd": _sshd_says(account.pw_name),
        "installers": [name for name in ("apt-get", "dnf") if shutil.which(name, path=SBIN)],
        "mark": _text(MARKER),
        "files": [str(path) for path in FILES if os.path.lexists(path)],
        "key": _has_key(keys, request.get("key", "")),
        "host_uuid": host_uuid(),
        "reach": {f"{host}:{port}": _reach(host, port) for host, port in request.get("reach", [])},
    }


def authorized_keys(home: str) -> Path:
    """The file of those who may sign in by key."""
    return Path(home) / ".ssh" / "authorized_keys"


def _place(path: Path) -> Dict[str, Any]:
    """Whether a folder could be written to, or made; sizes of its file system."""
    there = path
    while not os.path.lexists(there):
        there = there.parent
    seen = os.statvfs(there if there.exists() else there.parent)
    return {
        "at": str(there),
        "folder": there.is_dir(),
        "read_only": bool(seen.f_flag & os.ST_RDONLY),
        "writable": os.access(there, os.W_OK | os.X_OK),
        "free_bytes": seen.f_bavail * seen.f_frsize,
        # Some file systems (btrfs) count none.
        "free_files": seen.f_favail if seen.f_files else None,
    }


def _sshd_says(user: str) -> Dict[str, List[str]]:
    """What applies to this session of the options of the sshd that serves it, in lower case; empty: it does not say."""
    client, _, own, port = ([*os.environ.get("SSH_CONNECTION", "").split(), "", "", "", ""])[:4]
    program, options = _sshd_argv()
    about = f"user={user},host={client},addr={client},laddr={own},lport={port}"
    try:
        shown = subprocess.run(
            [program, "-T", "-C", about, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SSHD_SECONDS,
            check=False,
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return {}
    told: Dict[str, List[str]] = {}
    for line in shown.splitlines():
        name, _, value = line.partition(" ")
        told.setdefault(name.lower(), []).append(value)
    return told


def _sshd_argv() -> Tuple[str, List[str]]:
    """The program of the sshd that listens, and the file and options that it was started with."""
    pid = os.getppid()
    while pid > 0:
        words = (_text(Path(f"/proc/{pid}/cmdline")) or "").replace("\0", " ").split()
        if words[:1] == ["sshd:"] and "[listener]" in words:
            argv = words[1 : words.index("[listener]")]
            pairs = [argv[place : place + 2] for place, word in enumerate(argv) if word in ("-f", "-o")]
            return argv[0], [word for pair in pairs for word in pair]
        pid = _parent(pid)
    return shutil.which("sshd", path=SBIN) or "sshd", []


def _parent(pid: int) -> int:
    stat = _text(Path(f"/proc/{pid}/stat")) or ""
    fields = stat.rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def host_uuid() -> Optional[str]:
    """The UUID that libvirt has or will have for this host, as far as it is fixed; None: it will make one up.

    virHostUUIDInitialize() of libvirt: what its daemon's configuration says, else the board's.
    """
    for name in ("libvirtd", "virtqemud"):
        text = _text(ROOT / f"etc/libvirt/{name}.conf") or ""
        said: Dict[str, str] = dict(re.findall(r'^\s*(host_uuid(?:_source)?)\s*=\s*"([^"]*)"', text, re.MULTILINE))
        if UUID.fullmatch(said.get("host_uuid", "")):
            return said["host_uuid"].lower()
        if said.get("host_uuid_source") == "machine-id":
            digits = (_text(Path("/etc/machine-id")) or "").strip()
            return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])) if digits else None
    board = (_text(Path("/sys/devices/virtual/dmi/id/product_uuid")) or "").strip()
    # One digit throughout is a board without one; libvirt does not take it.
    return board.lower() if UUID.fullmatch(board) and len(set(board) - {"-"}) > 1 else None


def _reach(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), REACH_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error) or "no answer"
    return ""


def _has_key(path: Path, key: str) -> bool:
    return bool(key) and any(is_key(line, key) for line in (_text(path) or "").splitlines())


def is_key(line: str, key: str) -> bool:
    """Whether a line of authorized_keys lets the holder of this key in (options may stand before it)."""
    return key.split()[1] in line.split() and not line.lstrip().startswith("#")


def _text(path: Path) -> Optional[str]:
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except OSError:
        return None


def is_ours(mark: Optional[str], panel: str, node: int) -> bool:
    """Whether the mark is of this panel's node; a host without one belongs to nobody else."""
    try:
        told = json.loads(mark or "{}")
        return told == {} or (told["panel"], told["node"]) == (panel, node)
    except (ValueError, KeyError, TypeError):
        return False


def take_away(request: Dict[str, Any]) -> Dict[str, Any]:
    """Nothing of what the panel puts on a node is on the host; of bridges and storages the agent must have rid it.

    The key goes last: whoever is interrupted before can still come back. Answers what could not be removed and why
    (`left`), or whose node it is (`mark`) where it is another's: then nothing was touched.
    """
    mark = _text(MARKER)
    if not is_ours(mark, request["panel"], request["node"]):
        return {"left": [], "mark": mark}
    left: List[str] = []
    _stop_services(left)
    for path in (*FILES, *LIB.glob("*.part"), *STATE.glob("node.json.*.part")):
        _remove(path, left)
    for folder in (LIB, ETC, STATE):
        # Logs and what an administrator put there are theirs.
        with contextlib.suppress(OSError):
            folder.rmdir()
    shutil.rmtree(str(RUN), ignore_errors=True)
    if not left:
        _shut_out(authorized_keys(pwd.getpwuid(os.geteuid()).pw_dir), request["key"], left)
    return {"left": left, "mark": None}


def _remove(path: Path, left: List[str]) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        left.append(f"{path} ({error.strerror})")


def _stop_services(left: List[str]) -> None:
    for unit in UNITS:
        if (SYSTEM_UNITS / unit).exists():
            subprocess.run(["systemctl", "disable", "--now", unit], stdin=subprocess.DEVNULL, check=False)
            _remove(SYSTEM_UNITS / unit, left)
    # Keepers first, or they start again what is ended.
    for kind in ("keeper", "pid"):
        for record in RUN.glob(f"*.{kind}"):
            _end(*(_text(record) or "").split(" ")[:2])


def _end(pid: str = "", started: str = "", *_more: str) -> None:
    """End the process that nodeagent/services.py has written down, if it is still that one."""
    if not (pid.isdigit() and started and _started(pid) == started):
        return
    os.kill(int(pid), signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while _started(pid) == started and time.monotonic() < until:
        time.sleep(0.02)


def _started(pid: str) -> Optional[str]:
    fields = (_text(Path(f"/proc/{pid}/stat")) or "").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else None


def _shut_out(path: Path, key: str, left: List[str]) -> None:
    """The holder of the key may not sign in; others' lines stay byte by byte."""
    before = _text(path) or ""
    lines = before.splitlines(keepends=True)
    kept = [line for line in lines if not is_key(line, key)]
    if kept == lines:
        return
    # Where its administrator keeps it: a symbolic link stays one.
    real = path.resolve()
    partial = real.with_name("authorized_keys.vmpanel")
    try:
        descriptor = os.open(str(partial), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write("".join(kept).encode(errors="surrogateescape"))
            os.fchmod(file.fileno(), real.stat().st_mode & 0o777)
        partial.rename(real)
    except OSError as error:
        left.append(f"the panel's key in {path} ({error.strerror})")


COMMANDS = {"look": look, "take_away": take_away}
