"""What a guest is told of itself: its identity and interfaces, and the requests that hand them to a new system.

Such data reach the guest by a seed, which cloud-init reads, or are written into its disk by virt-customize.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import List, Optional, Union

from nodeagent.protocol import words
from nodeagent.protocol.storage import VolumeRef, VolumeState
from nodeagent.protocol.wire import BadMessage, Nothing, Request, command


@dataclass(frozen=True)
class GuestAddress:
    """An address of a guest's interface; `gateway` is its version's, or "" for none."""

    address: str
    prefix: int
    gateway: str = ""


@dataclass(frozen=True)
class GuestInterface:
    """An interface of a guest with all that it is told of it; `mtu` in bytes, 0 for what is usual."""

    mac: str
    addresses: List[GuestAddress]
    nameservers: List[str] = field(default_factory=list)
    mtu: int = 0


@dataclass(frozen=True)
class GuestIdentity:
    """What a guest is told about itself. `password_hash` is a crypt(3) hash or empty.

    `address`, `prefix` and `gateway` ("" for none) are those of its first interface's primary address, `further` its
    others, of either version of IP; `mtu` is that interface's, `interfaces` are its others.

    With `keeps_password` no hash means that the guest's password, which nobody here knows, stays and lets it in.
    """

    hostname: str
    login: str
    address: str
    prefix: int
    gateway: str
    mac: str
    nameservers: List[str] = field(default_factory=list)
    ssh_keys: List[str] = field(default_factory=list)
    password_hash: str = ""
    timezone: str = "UTC"
    keeps_password: bool = False
    further: List[GuestAddress] = field(default_factory=list)
    mtu: int = 0
    interfaces: List[GuestInterface] = field(default_factory=list)

    def every_interface(self) -> List[GuestInterface]:
        """All its interfaces, the first one, which it is reached by, first."""
        return every_interface(self)


@dataclass(frozen=True)
class GuestNetwork:
    """What a guest is told of its interfaces; as in GuestIdentity."""

    mac: str
    address: str
    prefix: int
    gateway: str
    nameservers: List[str] = field(default_factory=list)
    further: List[GuestAddress] = field(default_factory=list)
    mtu: int = 0
    interfaces: List[GuestInterface] = field(default_factory=list)

    def every_interface(self) -> List[GuestInterface]:
        """All its interfaces, the first one, which it is reached by, first."""
        return every_interface(self)


def every_interface(told: Union[GuestIdentity, GuestNetwork]) -> List[GuestInterface]:
    """All interfaces of a guest, the first one first."""
    first = [GuestAddress(told.address, told.prefix, told.gateway), *told.further]
    return [GuestInterface(told.mac, first, told.nameservers, told.mtu), *told.interfaces]


NOBODY_ENTERS = "Neither a password nor a key of the VM is known, so nobody could enter its new system: name one."


def keeping(guest: GuestIdentity, old: GuestIdentity, *, keys: bool) -> GuestIdentity:
    """The identity with the old one's password where it has none, and with its keys besides."""
    more = [key for key in old.ssh_keys if key not in guest.ssh_keys] if keys else []
    return replace(guest, password_hash=guest.password_hash or old.password_hash, ssh_keys=[*guest.ssh_keys, *more])


_SHAPES = {
    "hostname": re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}\Z"),
    "login": re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z"),
    "password_hash": re.compile(r"[A-Za-z0-9./$=,+*-]*\Z"),
    "timezone": re.compile(r"[A-Za-z0-9][A-Za-z0-9/_+-]*\Z"),
}


_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}\Z")
_MTU = range(576, 65536)


def check_identity(guest: GuestIdentity) -> None:
    """Refuse what could mean something else in one of the files that are made of it; raises BadMessage."""
    for name, shape in _SHAPES.items():
        if not shape.match(getattr(guest, name)):
            raise BadMessage(f"guest.{name}", "is not acceptable")
    for each in guest.every_interface():
        _check_interface(each)
    if not all(words.is_one_line(key) for key in guest.ssh_keys):
        raise BadMessage("guest.ssh_keys", "must be one line each")


def _check_interface(told: GuestInterface) -> None:
    if not _MAC.match(told.mac):
        raise BadMessage("guest.mac", "is not acceptable")
    if told.mtu and told.mtu not in _MTU:
        raise BadMessage("guest.mtu", "is not acceptable")
    gateways = [each.gateway or each.address for each in told.addresses]
    for name, values in (
        ("address", [each.address for each in told.addresses]),
        ("gateway", gateways),
        ("nameservers", told.nameservers),
    ):
        try:
            for value in values:
                ipaddress.ip_address(value)
        except ValueError as error:
            raise BadMessage(f"guest.{name}", "is not acceptable") from error
    for each in told.addresses:
        address = ipaddress.ip_address(each.address)
        if not 0 <= each.prefix <= address.max_prefixlen:
            raise BadMessage("guest.prefix", "is not acceptable")
        if each.gateway and ipaddress.ip_address(each.gateway).version != address.version:
            raise BadMessage("guest.gateway", "is not acceptable")


@command
class SeedCreate(Request[VolumeState]):
    """Make the NoCloud seed (an ISO 9660 image labelled cidata) from a guest's identity; overwrites.

    `keep_from` is another seed, whose password is taken where the identity has none, and with `keep_keys` its keys
    besides. What it holds stays on the node. Refused with `invalid_params` where nobody could enter then.
    """

    COMMAND = "seed_create"
    RESULT = VolumeState
    seed: VolumeRef
    instance_id: str
    guest: GuestIdentity
    keep_from: Optional[VolumeRef] = None
    keep_keys: bool = False


@command
class SeedDelete(Request[Nothing]):
    """Remove a seed; absent is success. `in_use` as of volume_delete."""

    COMMAND = "seed_delete"
    RESULT = Nothing
    REMOVES = True
    seed: VolumeRef


@command
class VolumeCustomize(Request[Nothing]):
    """Set identity inside a stopped guest's volume with virt-customize, for images without cloud-init."""

    COMMAND = "volume_customize"
    RESULT = Nothing
    volume: VolumeRef
    guest: GuestIdentity
    format: str = "qcow2"
