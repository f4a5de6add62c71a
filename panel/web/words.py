"""What pages call things: parameters with their units, states, steps. One name for one thing on every page."""

from __future__ import annotations

from datetime import datetime
from functools import cache

from django.utils.functional import Promise
from django.utils.translation import get_language, gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from panel.cluster.models import NodeState
from panel.core import kinds, wording
from panel.notices.models import Severity
from panel.tasks.models import Status, StepStatus
from panel.vms.models import VmStatus

Label = str | Promise

STATUSES: dict[str, Label] = {
    VmStatus.RUNNING: pgettext_lazy("VM", "Running"),
    VmStatus.PAUSED: pgettext_lazy("VM", "Paused"),
    VmStatus.SHUT_OFF: pgettext_lazy("VM", "Shut off"),
    VmStatus.SAVED: pgettext_lazy("VM", "Saved"),
    VmStatus.CRASHED: pgettext_lazy("VM", "Crashed"),
    VmStatus.MISSING: pgettext_lazy("VM", "Missing"),
    VmStatus.UNKNOWN: pgettext_lazy("VM", "Unknown"),
}
TASK_STATUSES: dict[str, Label] = {
    Status.QUEUED: _("Queued"),
    Status.RUNNING: _("Running"),
    Status.RETRYING: _("Waiting to try again"),
    Status.UNDOING: _("Undoing"),
    Status.DONE: _("Done"),
    Status.FAILED: _("Failed"),
    Status.CANCELLED: _("Cancelled"),
    Status.STUCK: _("Stuck"),
}
STEP_STATUSES: dict[str, Label] = {
    StepStatus.PENDING: _("Waiting"),
    StepStatus.RUNNING: _("Running"),
    StepStatus.DONE: _("Done"),
    StepStatus.FAILED: _("Failed"),
    StepStatus.UNDOING: _("Undoing"),
    StepStatus.UNDONE: _("Undone"),
}
SEVERITIES: dict[str, Label] = {
    Severity.INFO: _("Notice"),
    Severity.WARNING: _("Warning"),
    Severity.ERROR: _("Error"),
    Severity.ALARM: _("Alarm"),
}
NODE_STATES: dict[str, Label] = {
    NodeState.PREPARING: _("Being prepared"),
    NodeState.READY: _("Ready"),
    NodeState.UNREACHABLE: _("Unreachable"),
    NodeState.REMOVING: _("Being removed"),
}
KINDS: dict[str, Label] = {
    "cluster": _("Cluster"),
    "dns-server": _("Name server"),
    "flavor": _("Plan"),
    "image": _("Image"),
    "iso": _("ISO image"),
    "network": _("Network"),
    "node": _("Node"),
    "pool": _("Storage"),
    "problem": _("Problem"),
    "role": _("Role"),
    "security-group": _("Security group"),
    "task": _("Task"),
    "token": _("Token"),
    "user": _("User"),
    "vm": _("Virtual machine"),
    "webhook": _("Webhook"),
}
"""Kinds of objects; those of plug-ins have their own label."""
PARAMETERS: dict[str, Label] = {
    "address": _("Address"),
    "addresses": _("Addresses"),
    "api_key": _("Key of its API"),
    "anyway": _("Also where the node cannot be asked"),
    "bandwidth_mib": _("Speed limit"),
    "boot": _("Start from it until it is ejected"),
    "boot_once": _("Start from it the next time"),
    "boot_order": _("Boot order"),
    "bridge": _("Bridge"),
    "bus": _("Bus"),
    "cache": _("Cache"),
    "cidr": _("Subnet"),
    "clock": _("Clock"),
    "choice": _("Given out next"),
    "comment": _("Comment"),
    "days": _("Days"),
    "excluded": _("Excluded"),
    "for_all": _("For all users, nodes and plans"),
    "lines": _("Addresses"),
    "purpose": _("Purpose"),
    "range": _("Range"),
    "count": _("How many ports"),
    "cpu_limit_percent": _("CPU limit"),
    "cpu_mode": _("CPU mode"),
    "cpu_model": _("CPU model"),
    "cpu_weight": _("CPU weight"),
    "delete_others": _("Delete the other copies"),
    "description": _("Description"),
    "discard_newer": _("Give up what was written since"),
    "disk": _("Disk"),
    "disk_gib": _("Disk"),
    "domain": _("Domain"),
    "enabled": _("Starts with its node"),
    "firmware": _("Firmware"),
    "flavor": _("Size"),
    "forget_vms": _("Forget its VMs too"),
    "gateway": _("Gateway"),
    "groups": _("Security groups"),
    "guarded": _("Anti-spoofing filter"),
    "host_key": _("Host key"),
    "hostname": _("Host name"),
    "image": _("Image"),
    "inbound_kibps": _("Limit of what it receives"),
    "interface": _("Interface"),
    "io_weight": _("I/O weight"),
    "iso": _("ISO image"),
    "key": _("Private key"),
    "kind": _("Kind"),
    "mac": _("MAC address"),
    "machine": _("Machine type"),
    "max_memory_mib": _("Memory it can grow to while it runs"),
    "max_vcpus": _("CPUs it can have while it runs"),
    "memory_mib": _("Memory"),
    "name": _("Name"),
    "nameservers": _("Name servers"),
    "uplink": _("Uplink"),
    "proxy": _("Answer for guests"),
    "vlan": _("VLAN id"),
    "vni": _("VNI"),
    "mtu": _("MTU"),
    "forward": _("Have A and AAAA records too"),
    "keep_records": _("Keep its records, and forget it at once"),
    "link": _("Interface"),
    "make_zones": _("Make zones that are missing"),
    "mode": _("Mode of the bond"),
    "network": _("Network"),
    "node": _("Node"),
    "options": _("Options"),
    "other_host": _("Take the host though nothing on it says that it is this node"),
    "outbound_kibps": _("Limit of what it sends"),
    "owner": _("Owner"),
    "parallel": _("Moved at a time"),
    "password": _("Password"),
    "parent": _("On the interface"),
    "path": _("Folder"),
    "pool": _("Storage"),
    "port": _("The node's port"),
    "ports": _("Network cards of the bond"),
    "protocol": _("Protocol"),
    "to_port": _("The VM's port"),
    "ranges": _("Ranges"),
    "read_bytes_sec": _("Read limit"),
    "read_iops_sec": _("Read operations limit"),
    "reason": _("Reason"),
    "renew_curve": _("Make new CURVE keys"),
    "rotate": _("Make a new secret"),
    "rules": _("Rules"),
    "security_groups": _("Security groups"),
    "service": _("Service"),
    "size_gib": _("Size"),
    "snapshot": _("Snapshot"),
    "ssh_keys": _("SSH keys"),
    "ssh_port": _("SSH port"),
    "ssh_user": _("SSH user"),
    "subnet": _("Subnet"),
    "stop_others": _("Force the copies on other nodes off"),
    "timeout_seconds": _("How long the guest may take"),
    "template": _("Usual names"),
    "title": _("Title"),
    "ttl_seconds": _("Time to live"),
    "url": _("Address of its API"),
    "vcpus": _("CPUs"),
    "version": _("Version of IP"),
    "virtualization": _("Virtualization"),
    "zone_nameservers": _("Name servers of new zones"),
    "with_memory": _("Keep its memory too"),
    "write_bytes_sec": _("Write limit"),
    "write_iops_sec": _("Write operations limit"),
}
"""Operations' parameters by their names. A test asks for each."""
UNITS: dict[str, Label] = {
    "_mib": _("MiB"),
    "_gib": _("GiB"),
    "_percent": "%",
    "_kibps": _("KiB/s"),
    "_bytes_sec": _("bytes/s"),
    "_iops_sec": _("operations/s"),
    "_seconds": _("s"),
}
"""By the ends of parameters' names."""
UNIT_OF: dict[str, Label] = {"bandwidth_mib": _("MiB/s")}
"""Of the few whose name's end says less."""
SECONDS_WITH_TENTHS = 10
ORDERS: dict[str, Label] = {
    "disk": _("Disk"),
    "cdrom\ndisk": _("ISO image, then disk"),
    "disk\nnetwork": _("Disk, then network"),
    "network\ndisk": _("Network, then disk"),
    "cdrom\ndisk\nnetwork": _("ISO image, then disk, then network"),
}
"""Boot orders that are offered, each as lines."""
NONE_CHOSEN: dict[str, Label] = {
    "node": _("Chosen for you"),
    "network": _("The first one"),
    "pool": _("The first with free space"),
    "owner": _("You"),
    "cpu_mode": _("What suits the node"),
}
"""What it means to choose nothing, where that is not plain."""
YES_NO: tuple[tuple[str, Label], ...] = (("", _("As it is")), ("yes", _("Yes")), ("no", _("No")))


def unit_of(name: str) -> Label:
    """The unit of a parameter; "" where it has none."""
    return UNIT_OF.get(name) or next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


def kind(name: str) -> Label:
    """What people call an object of the kind; the name itself where no app has it (any more)."""
    known = kinds.find(name)
    return KINDS.get(name) or (wording.translated(known.label) if known is not None else name)


def took(began: datetime | None, ended: datetime | None) -> str:
    """How long it took: 0.4 s, 12 s, 3:05 min, 1:02:03 h; "" for what has not ended."""
    if began is None or ended is None:
        return ""
    seconds = max(0.0, (ended - began).total_seconds())
    if seconds < SECONDS_WITH_TENTHS:
        return f"{seconds:.1f} {gettext('s')}"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} {gettext('s')}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} {gettext('h')}" if hours else f"{minutes}:{rest:02} {gettext('min')}"


def for_scripts() -> dict[str, object]:
    """The few words that scripts say, and the topics that they follow."""
    return _for_scripts(get_language())


@cache
def _for_scripts(language: str | None) -> dict[str, object]:
    return {
        "failed": str(_("That failed. Try again, and look at the tasks and the problems.")),
        "away": str(_("The panel does not answer. Try again in a moment.")),
        "close": str(_("Close")),
        "chosen": str(_("chosen")),
        "statuses": {name: str(label) for name, label in STATUSES.items()},
        "tasks": {name: str(label) for name, label in TASK_STATUSES.items()},
        "steps": {name: str(label) for name, label in STEP_STATUSES.items()},
        "topics": list(kinds.topics()),
    }
