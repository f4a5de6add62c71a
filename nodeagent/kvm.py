"""/dev/kvm as QEMU's user finds it.

Where that user may not open it, guests have no KVM, and libvirt takes what it knows of QEMU for stale and looks at QEMU
anew at each question, which takes seconds. udev gives the device to the group kvm; where nothing like udev runs, it is
as the kernel made it, root's alone.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from pathlib import Path
from typing import Optional

from nodeagent.job import Job
from nodeagent.run import run

DEVICE = Path("/dev/kvm")
QEMU_CONF = Path("/etc/libvirt/qemu.conf")
GROUP = "kvm"
MODE = 0o660
USERS = ("libvirt-qemu", "qemu")
"""As whom QEMU runs where qemu.conf names nobody: Debian's, and the Red Hat family's."""
SETTING = re.compile(r'\s*(user|group)\s*=\s*"\+?([^"]+)"')
OPEN = ": <> /dev/kvm"
_left = ""
"""Why the last open_to_qemu() of this process left it closed."""


def open_to_qemu(job: Job) -> str:
    """Give the device the owner and mode that udev gives it, where QEMU's user may not open it.

    Only one that is as the kernel or udev left it is changed: any other owner is an administrator's choice. Answers
    what is wrong still, as closed_to_qemu() does.
    """
    global _left
    _left = ""
    if not closed_to_qemu(job):
        return ""
    try:
        kvm = grp.getgrnam(GROUP).gr_gid
        found = DEVICE.stat()
        if found.st_uid == 0 and found.st_gid in (0, kvm):
            os.chown(DEVICE, 0, kvm)
            os.chmod(DEVICE, found.st_mode & 0o777 | MODE)
        else:
            _left = "Somebody gave it this owner, so it is left as it is."
    except KeyError:
        _left = f"It is left so, since the node has no group “{GROUP}”."
    except OSError as error:
        _left = f"It cannot be changed: {error.strerror}."
    return closed_to_qemu(job)


def closed_to_qemu(job: Job) -> str:
    """A sentence where QEMU's user may not open the device though root can; empty otherwise, and without a device."""
    user = qemu_user()
    if user is None or user.pw_uid == 0 or not _root_opens():
        return ""
    argv = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "sh", "-c", OPEN]
    if run(argv, job, check=False).exit_code == 0:
        return ""
    found = DEVICE.stat()
    owner = f"{_name_of_user(found.st_uid)}:{_name_of_group(found.st_gid)}, mode {found.st_mode & 0o777:04o}"
    said = (
        f"QEMU's user “{user.pw_name}” may not open {DEVICE} ({owner}): guests have no KVM, and libvirt is slow, since "
        f"it looks at QEMU anew for each question. It should be root:{GROUP} with mode {MODE:04o}."
    )
    return f"{said} {_left}".rstrip()


def qemu_user() -> Optional[pwd.struct_passwd]:
    """As whom libvirt runs QEMU, with the group that qemu.conf names; None where no such user is known yet."""
    told = dict(_settings())
    for name in [told["user"]] if "user" in told else USERS:
        found = _user(name)
        if found is not None:
            return _in_group(found, told.get("group"))
    return None


def _settings() -> list[tuple[str, str]]:
    try:
        lines = QEMU_CONF.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [match.groups() for match in map(SETTING.match, lines) if match]  # type: ignore[misc]


def _user(name: str) -> Optional[pwd.struct_passwd]:
    try:
        return pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        return None


def _in_group(user: pwd.struct_passwd, group: Optional[str]) -> pwd.struct_passwd:
    if group is None:
        return user
    try:
        number = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        return user
    return pwd.struct_passwd((*user[:3], number, *user[4:]))


def _root_opens() -> bool:
    """Whether there is something to open: where root cannot, the machine has no KVM, whoever asks."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _name_of_user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _name_of_group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
