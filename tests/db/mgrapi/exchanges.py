"""Calls that show every function. Their answers are kept in tests/golden/mgrapi and told in docs/classic-api.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ anna"


@dataclass(frozen=True)
class Exchange:
    """A call by somebody; `text` says what it shows, `by` who makes it."""

    text: str
    who: str
    params: Mapping[str, str]
    by: Literal["program", "script", "browser"] = "program"


def _as(who: str, text: str, **params: str) -> Exchange:
    return Exchange(text, who, params)


def _script(who: str, text: str, **params: str) -> Exchange:
    """Without `out`."""
    return Exchange(text, who, params, "script")


def _browser(who: str, text: str, **params: str) -> Exchange:
    """From another address than the session was begun at."""
    return Exchange(text, who, params, "browser")


EXCHANGES: dict[str, tuple[Exchange, ...]] = {
    "": (_as("anna", "Who calls"), _as("nobody", "Without a proof")),
    "auth": (
        _as("nobody", "A session", username="anna", password="correct horse"),
        _as("nobody", "A wrong password", username="anna", password="not the password"),
    ),
    "exit": (_as("anna", "The session ends"),),
    "vm": (
        _as("anna", "The VMs of a customer"),
        _as("admin", "A page of those whose name contains “sho”", filter="on", name="sho", p_cnt="10"),
        _as("admin", "Those that run, the largest first", filter="on", vmstatus="running", p_sort="-mem"),
        _script("anna", "As the old pages got it", sfrom="ajax"),
    ),
    "vmmini": (_as("anna", "Little of each VM"),),
    "vm.sysinfo": (_as("anna", "One VM", elid="237"), _as("bert", "Another's VM is as absent", elid="237")),
    "vm.edit": (
        _as("admin", "What a new VM can be made of"),
        _as(
            "admin",
            "A new VM for a customer",
            sok="ok",
            name="blog",
            user="anna",
            preset="small",
            hostnode="auto",
            installtype="installtemplate",
            vmi="vmpanel__small",
            recipe="null",
            family="ipv4",
            iptype="private",
            domain="blog.example.com",
            vsize="10240",
            mem="1024",
            vcpu="2",
            inbound="1024",
            outbound="512",
            password="a secret word",
            confirm="a secret word",
            sshpubkey=KEY,
        ),
        _as(
            "admin",
            "A new VM that starts from an ISO image",
            sok="ok",
            name="wiki",
            user="anna",
            preset="small",
            installtype="installiso",
            iso="rescue",
            ip="10.77.0.40",
        ),
        _as(
            "admin",
            "No network is public: which address it became is said",
            sok="ok",
            name="wiki",
            preset="small",
            vmi="ISPsystem__small",
            family="ipv4",
            iptype="public",
        ),
        _as(
            "admin",
            "A network by its range, and the only system there is",
            sok="ok",
            name="wiki",
            mem="256",
            vcpu="1",
            vsize="2000",
            family="10.77.0.0/24",
        ),
        _as(
            "admin",
            "An address that is chosen",
            sok="ok",
            name="wiki",
            preset="small",
            vmi="small",
            family="special",
            iptype="nat",
            ip="10.77.0.40",
        ),
        _as("admin", "An address that is in use", sok="ok", name="wiki", preset="small", vmi="small", ip="10.77.0.10"),
        _as("admin", "The filled form", elid="237"),
        _as("admin", "A change", sok="ok", elid="237", mem="256", vcpu="2", cputune="512"),
        _as("admin", "Suspended", sok="ok", elid="237", blocked="on"),
        _as("admin", "A name that is taken", sok="ok", name="shop", preset="small", vmi="small"),
        _as("admin", "A name that cannot be", sok="ok", name="a_b", preset="small", vmi="small"),
    ),
    "vm.start": (_as("anna", "Start", elid="237"), _script("anna", "As the old pages got it", elid="237")),
    "vm.stop": (_as("anna", "Shut down", elid="237"),),
    "vm.restart": (_as("anna", "Restart", elid="237"), _as("bert", "Another's VM", elid="237")),
    "vm.delete": (
        _as("anna", "Delete", elid="237"),
        _script("bert", "Another's VM, as the old pages got it", elid="237"),
        _script("anna", "Of nothing"),
    ),
    "vm.clone": (
        _as("anna", "The form", elid="237"),
        _as("anna", "A name that cannot be", sok="ok", elid="237", name="a_b"),
    ),
    "snapshot": (_as("anna", "None yet", elid="237"),),
    "snapshot.edit": (
        _as("anna", "The form", plid="237"),
        _as("anna", "A snapshot", sok="ok", plid="237", name="before", description="before the upgrade"),
    ),
    "snapshot.revert": (_as("anna", "One that is not there", elid="9"),),
    "snapshot.delete": (_as("anna", "One that is not there", elid="9"),),
    "volume": (_as("anna", "The disks of a VM", elid="237"),),
    "volume.edit": (
        _as("anna", "The filled form", elid="80"),
        _as("anna", "One more disk", sok="ok", plid="237", size="2048"),
        _as("anna", "Larger", sok="ok", elid="80", size="20480"),
        _as("anna", "Smaller", sok="ok", elid="80", size="1024"),
    ),
    "volume.delete": (_as("anna", "The disk that it starts from", elid="80"),),
    "vm.chpasswd": (
        _as("anna", "The form", elid="237"),
        _as("anna", "Another password", sok="ok", elid="237", passwd="a secret word", confirm="a secret word"),
        _as("anna", "Too short", sok="ok", elid="237", passwd="short"),
    ),
    "vm.reinstall": (
        _as("anna", "The form; its first list is that of the systems", elid="237"),
        _as("anna", "Another system", sok="ok", elid="237", vmi="vmpanel__small", password="a secret word"),
        _as(
            "anna", "With the password that it has", sok="ok", elid="237", new_password="off", password="a secret word"
        ),
    ),
    "vm.migrate": (
        _as("admin", "The form", elid="237"),
        _as("admin", "No other node", sok="ok", elid="237", hostnode="auto"),
    ),
    "vm.novnc": (
        _as("anna", "Where the console is", elid="237"),
        _browser("anna", "A browser that a billing server sends", newwindow="yes", elid="237"),
        _browser("admin", "No administrator's", newwindow="yes", elid="237"),
    ),
    "novnc": (_as("anna", "The same", elid="237"),),
    "iplist": (_as("anna", "The addresses of a VM", plid="237"),),
    "iplist.edit": (
        _as("anna", "The form", plid="237"),
        _as("anna", "One more address", sok="ok", plid="237", family="ipv4", domain="shop.example.com"),
    ),
    "iplist.delete": (_as("anna", "The address is free again", elid="70"), _as("bert", "Another's", elid="70")),
    "ippool": (_as("admin", "The ranges"), _as("anna", "Not for customers")),
    "ippool.edit": (
        _as("admin", "The filled form", elid="65"),
        _as("admin", "For one user's VMs", sok="ok", elid="65", user="anna", iptype="public"),
        _as("admin", "One more range", sok="ok", family="private", range="10.77.0.2-10.77.0.9"),
    ),
    "ippool.delete": (_as("admin", "Not while VMs have addresses of it", elid="65"),),
    "reportvm": (_as("anna", "Traffic by day", type="day", period="currentmonth", server="237"),),
    "vmhostnode": (_as("admin", "The nodes"), _as("anna", "Not for customers")),
    "vmhostnode.edit": (
        _as("admin", "The filled form", elid="20"),
        _as("admin", "At most ten VMs", sok="ok", elid="20", maxvmcount="10"),
        _as("admin", "A new node", sok="ok", name="node2", ip="192.0.2.20", passwd="a secret word"),
    ),
    "vmhostnode.delete": (_as("admin", "Not one that has VMs", elid="20"),),
    "vmhostnode.info": (_as("admin", "One node", elid="20"),),
    "osmgr": (_as("anna", "The systems"),),
    "osmgr.edit": (_as("admin", "One system", elid="vmpanel__small"),),
    "recipemgr": (_as("anna", "There are no recipes"),),
    "iso": (_as("anna", "ISO images, in MiB"),),
    "iso.delete": (_as("admin", "By name", elid="rescue"), _as("anna", "Not that of all", elid="40")),
    "preset": (_as("anna", "The sizes"),),
    "preset.edit": (
        _as("admin", "The filled form", elid="51"),
        _as("admin", "A new size", sok="ok", name="huge", mem="8192", vcpu="8", vsize="81920"),
        _as("admin", "Another size", sok="ok", elid="51", mem="1536"),
    ),
    "preset.delete": (_as("admin", "By number", elid="51"), _as("anna", "Not for customers", elid="51")),
    "task": (_as("anna", "What is under way"),),
    "user": (_as("admin", "The users"), _as("anna", "Not for customers")),
    "user.edit": (
        _as("admin", "The filled form", elid="anna"),
        _as(
            "admin",
            "A new user",
            sok="ok",
            level="16",
            name="carl",
            passwd="a secret word",
            confirm="a secret word",
            isolimitsize="1024",
            isolimitnum="3",
            snapshot_limit="5",
        ),
        _as("admin", "A name that is taken", sok="ok", name="anna", level="16", passwd="a secret word"),
        _as("admin", "A password that is too short", sok="ok", name="carl", level="16", passwd="short"),
        _as("admin", "Another password, by name", sok="ok", elid="anna", passwd="a secret word"),
        _as("anna", "One's own takes the present one too", sok="ok", elid="anna", passwd="a secret word"),
        _as("anna", "A wrong one", sok="ok", elid="anna", passwd="a secret word", old_passwd="not the password"),
    ),
    "user.delete": (
        _as("admin", "Delete by name", elid="bert"),
        _as("admin", "Not one who has VMs", elid="bert, anna"),
    ),
    "user.enable": (_as("admin", "Let in again", elid="11"),),
    "user.disable": (_as("admin", "Let out", elid="anna, bert"),),
    "userrights": (
        _as("admin", "What a customer may do", elid="11"),
        _as("admin", "What is below a function", plid="anna", elid="vm.novnc"),
    ),
    "userrights.suspend": (_as("admin", "No VMs of their own making", plid="anna", elid="vm.edit, vm.delete"),),
    "userrights.resume": (_as("admin", "As before", plid="anna", elid="vm.edit"),),
    "session.newkey": (_as("admin", "A key for a browser", username="anna", key="0123456789abcdef"),),
    "vmwatch.configure": (_as("admin", "Configure the monitoring"),),
}
