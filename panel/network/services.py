"""Giving out addresses, releasing them, and the network that a new cluster begins with."""

from __future__ import annotations

import ipaddress
import itertools
import secrets
from collections.abc import Iterable, Mapping

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from panel.accounts.models import User
from panel.cluster.models import Cluster, Node
from panel.core import live
from panel.core.errors import AlreadyExists, CapacityError, InvalidValue, WrongState
from panel.core.validation import plain_name
from panel.core.wording import Text
from panel.network.kinds import Kind, get_kind
from panel.network.models import Address, Network, NetworkState, NodeNetwork, Subnet
from panel.network.places import ip_at
from panel.network.ranges import free_by_version, lowest_free
from panel.network.selectors import given_versions, in_range
from panel.network.subnets import add_subnet, overlap
from panel.network.users import MOST_NAMED, named, users

FIRST_SUBNETS = (
    *(f"10.{number}.0.0/24" for number in (77, 78, 87, 177, 178, 187)),
    *(f"172.{number}.77.0/24" for number in (27, 28, 30)),
    *(f"192.168.{number}.0/24" for number in (77, 177, 187)),
)
"""What a cluster's first network may be, the first of them that its first node does not use."""
NAMESERVERS = ["1.1.1.1", "9.9.9.9"]
MAC_PREFIX = (0x52, 0x54, 0x00)
"""QEMU's locally used prefix."""
NAMED_OF_KIND = 7
"""Letters of a kind's name in the name of a bridge, which has 15 at most."""


def allocate(network: Network, wanted: str | None = None, owner: User | None = None) -> list[Address]:
    """Take what an interface in the network has: of each version of its ranges the lowest free address.

    With `wanted` that one is taken instead of its version's, also where it is reserved for VMs of `owner`. A network
    without ranges gives none. Must run in a transaction: the network's row is held meanwhile, so two who ask at once
    get other addresses; the unique constraint stands behind that.

    Raises CapacityError when none of a version is free, WrongState while the network is being removed, and what
    refuse_not_free raises.
    """
    network = _held(network)
    found: dict[int, str] = {}
    taken: list[Address] = []
    if wanted is not None:
        refuse_not_free(network, wanted, owner=owner)
        found[ipaddress.ip_address(wanted).version] = str(ipaddress.ip_address(wanted))
        taken = list(network.addresses.filter(ip=str(ipaddress.ip_address(wanted)), reserved=True))
    for version in given_versions(network) - found.keys():
        found[version] = _lowest_free(network, version)
    there = {each.ip: each for each in taken}
    return [
        there.get(found[version]) or Address.objects.create(network=network, ip=found[version])
        for version in sorted(found)
    ]


def allocate_one(network: Network, wanted: str | None, version: int, owner: User) -> Address:
    """Take one more address: the named one, also where it is reserved for VMs of `owner`, or the lowest free one.

    Must run in a transaction, and raises what allocate() does.
    """
    network = _held(network)
    if wanted is None:
        return Address.objects.create(network=network, ip=_lowest_free(network, version))
    refuse_not_free(network, wanted, owner=owner)
    ip = str(ipaddress.ip_address(wanted))
    return network.addresses.filter(ip=ip, reserved=True).first() or Address.objects.create(network=network, ip=ip)


def refuse_none_free(network: Network, wanted: str | None, version: int, owner: User) -> None:
    """Raise what allocate_one() would, as the network is just now."""
    refuse_removing(network)
    if wanted is not None:
        refuse_not_free(network, wanted, owner=owner)
    elif free_by_version(network).get(version, 0) < 1:
        raise full(network)


def _held(network: Network) -> Network:
    """The network as it is now, held until the transaction ends; raises WrongState while it is being removed."""
    held = Network.objects.select_for_update().prefetch_related("subnets__ranges").get(pk=network.pk)
    refuse_removing(held)
    return held


def refuse_removing(network: Network) -> None:
    """Raise WrongState for a network that is being removed."""
    if network.removing:
        text = Text("The network “{network}” is being removed.", {"network": network.name})
        raise WrongState(text, object="network", id=network.pk, state="being removed", field="network")


def _lowest_free(network: Network, version: int) -> str:
    for subnet in network.subnets.all():
        for pool in subnet.ranges.all() if subnet.version == version else ():
            if (free := lowest_free(pool, network.pk)) is not None:
                return ip_at(free)
    raise full(network)


def full(network: Network) -> CapacityError:
    """That no address of the network is free."""
    text = Text("The network “{network}” has no free address.", {"network": network.name})
    return CapacityError(text, field="network", candidates={})


def refuse_full(network: Network, wanted: str | None = None, owner: User | None = None) -> None:
    """Raise what allocate() would, as the network is just now."""
    refuse_removing(network)
    if wanted is not None:
        refuse_not_free(network, wanted, owner=owner)
    elif any(free < 1 for free in free_by_version(network).values()):
        raise full(network)


def allocate_certain(network: Network, ip: str) -> Address:
    """Take just this address of the network, in its ranges or not; must run in a transaction.

    Raises InvalidValue for one that no guest can have, AlreadyExists for one in use.
    """
    refuse_address(_held(network), ip)
    return Address.objects.create(network=network, ip=ip)


def refuse_address(network: Network, ip: str) -> None:
    """Raise what keeps a guest from having this address of the network; see allocate_certain."""
    try:
        subnet = network.subnet_with(ip)
    except ValueError:
        raise InvalidValue(Text("“{address}” is not an IP address.", {"address": ip}), field="addresses") from None
    if subnet is None or ipaddress.ip_address(ip) in _of_its_own(subnet):
        there = ", ".join(each.cidr for each in network.subnets.all()) or "it has no subnet"
        raise InvalidValue(
            Text(
                "{address} is no address for a guest of “{network}” ({subnets}).",
                {"address": str(ip), "network": network.name, "subnets": there},
            ),
            field="addresses",
        )
    if network.addresses.filter(ip=ip).exists():
        raise AlreadyExists(
            Text("The address {address} is in use.", {"address": str(ip)}), field="addresses", object="address"
        )


def _of_its_own(subnet: Subnet) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The addresses of a subnet that are no guest's."""
    gateway, parsed = {ipaddress.ip_address(subnet.gateway)} if subnet.gateway else set(), subnet.parsed
    if parsed.max_prefixlen - parsed.prefixlen < 2:
        return gateway
    return gateway | {parsed.network_address} | ({parsed.broadcast_address} if parsed.version == 4 else set())


def refuse_not_free(network: Network, ip: str, field: str = "address", owner: User | None = None) -> None:
    """Raise InvalidValue for what is no address of the network's ranges, AlreadyExists for one in use.

    One that is reserved for `owner` is free for his VMs while no interface has it.
    """
    try:
        wanted = ipaddress.ip_address(ip)
    except ValueError:
        raise InvalidValue(Text("“{address}” is not an IP address.", {"address": ip}), field=field) from None
    if not any(in_range(pool, wanted) for pool in network.ranges):
        raise InvalidValue(
            Text("{address} is not in the ranges of “{network}”.", {"address": str(wanted), "network": network.name}),
            field=field,
        )
    there = network.addresses.filter(ip=str(wanted)).first()
    if there is not None and not (there.reserved and owner is not None and is_for(there, owner)):
        raise AlreadyExists(
            Text("The address {address} is in use.", {"address": str(wanted)}), field=field, object="address"
        )


def is_for(address: Address, owner: User) -> bool:
    """Whether a reserved address, which no interface has, may be had by VMs of the owner."""
    return address.owner_id == owner.pk and not users(address.network, [address])


def reserve(network: Network, wanted: str | None, version: int, owner: User | None, comment: str) -> Address:
    """Take an address that no interface has, and that stays in use until it is released; must run in a transaction.

    Raises what allocate() does.
    """
    network = _held(network)
    if wanted is not None:
        refuse_not_free(network, wanted)
    ip = str(ipaddress.ip_address(wanted)) if wanted is not None else _lowest_free(network, version)
    _tell_pages(network.pk)
    return Address.objects.create(network=network, ip=ip, reserved=True, owner=owner, comment=comment)


def end_reservation(address: Address) -> None:
    """Reserve the address no more: it is free where no interface has it."""
    if users(address.network, [address]):
        Address.objects.filter(pk=address.pk).update(reserved=False, owner=None, comment="")
    else:
        address.delete()
    _tell_pages(address.network_id)


def release(*address_ids: int) -> None:
    """Make the addresses free again, but for those that are reserved; released already is success."""
    Address.objects.filter(pk__in=address_ids, reserved=False).delete()


def new_mac() -> str:
    """A random MAC address with QEMU's prefix."""
    return ":".join(f"{byte:02x}" for byte in (*MAC_PREFIX, *secrets.token_bytes(3)))


@transaction.atomic
def add_network(cluster: Cluster, name: str, kind: str, options: Mapping[str, object], bridge: str = "") -> Network:
    """A new network of the cluster, without subnets; without a bridge's name it has the first free one of its kind.

    Raises InvalidValue and MissingValue for what its kind cannot have, and what refuse_taken() does.
    """
    Cluster.objects.select_for_update().get(pk=cluster.pk)
    found, of_kind = plain_name(name), get_kind(kind)
    checked = of_kind.checked(options)
    bridge = of_kind.hosts_bridge(checked) or bridge
    refuse_taken(cluster, found, of_kind, checked, bridge)
    made = Network.objects.create(
        cluster=cluster, name=found, kind=kind, options=checked, bridge=bridge or _free_bridge(cluster, kind)
    )
    _tell_pages(made.pk)
    return made


def refuse_taken(
    cluster: Cluster, name: str, kind: Kind, options: Mapping[str, str], bridge: str = "", but: int | None = None
) -> None:
    """Raise AlreadyExists where another network than `but` has the name or bridge, or would be one with this."""
    for other in Network.objects.filter(cluster=cluster):
        if other.pk == but:
            continue
        if other.name == name:
            text = Text("There is a network “{network}” already.", {"network": other.name})
            raise AlreadyExists(text, field="name", object="network")
        if bridge and other.bridge == bridge:
            text = Text("The network “{network}” has the bridge {bridge}.", {"network": other.name, "bridge": bridge})
            raise AlreadyExists(text, field="bridge", object="network")
        if other.kind == kind.name and (field := kind.clash(options, other.options)):
            text = Text("The network “{network}” has that already: “{field}”.", {"network": other.name, "field": field})
            raise AlreadyExists(text, field=field, object="network")


def _free_bridge(cluster: Cluster, kind: str) -> str:
    taken = set(Network.objects.filter(cluster=cluster).values_list("bridge", flat=True))
    names = (f"vmbr-{kind[:NAMED_OF_KIND]}{number}" for number in itertools.count())
    return next(each for each in names if each not in taken)


@transaction.atomic
def change_network(network: Network, *, name: str, options: Mapping[str, str]) -> None:
    """Record another name and other options, checked before."""
    Network.objects.filter(pk=network.pk).update(name=name, options=dict(options))
    _tell_pages(network.pk)


def withdraw(network: Network) -> None:
    """No interface is made in the network any more; whoever makes one just now is waited for. In a transaction.

    Raises WrongState where it is in use.
    """
    held = Network.objects.select_for_update().get(pk=network.pk)
    refuse_used(held)
    Network.objects.filter(pk=held.pk).update(removing=True)
    _tell_pages(held.pk)


def refuse_used(network: Network) -> None:
    """Raise WrongState naming who has an interface in the network, or an address of it."""
    if used := named(network) or named(network, list(network.addresses.order_by("pk")[: MOST_NAMED + 1])):
        text = Text("It is in use, by {users}.", {"users": used})
        raise WrongState(text, object="network", id=network.pk, state="in use", field="id")


def offer_again(network: Network) -> None:
    """Interfaces are made in it again."""
    Network.objects.filter(pk=network.pk).update(removing=False)
    _tell_pages(network.pk)


def delete_network(network_id: int) -> None:
    """The panel does not know the network, its subnets and ranges; one that is gone already is success."""
    Network.objects.filter(pk=network_id).delete()
    transaction.on_commit(lambda: live.publish("network", {"id": network_id, "gone": True}))


def _tell_pages(network_id: int) -> None:
    transaction.on_commit(lambda: live.publish("network", {"id": network_id}))


@transaction.atomic
def ensure_default_network(cluster: Cluster, used: Iterable[str] = ()) -> Network:
    """The cluster's first network: made, with all its host addresses but the gateway's, when there is none.

    `used` are the address ranges that its first node has; raises CapacityError where there is no room beside them.
    """
    Cluster.objects.select_for_update().get(pk=cluster.pk)
    network = Network.objects.filter(cluster=cluster).order_by("pk").first()
    if network is not None:
        return network
    network = Network.objects.create(cluster=cluster, name="private", bridge="vmbr-nat0")
    return _with_subnet(network, free_subnet(used))


@transaction.atomic
def choose_again(network: Network, used: Iterable[str]) -> Network:
    """Another range for a network that nothing uses yet; as it is where one was set, or an address was given out."""
    Network.objects.select_for_update().get(pk=network.pk)
    if settings.CONFIG.first_network or network.addresses.exists():
        return network
    network.subnets.all().delete()
    return _with_subnet(network, free_subnet(used))


def record_state(node: Node, network: Network, error: str = "") -> None:
    """Remember that the network is on the node, or why it cannot be made there."""
    known = NodeNetwork.objects.filter(node=node, network=network).values_list("state", "error").first()
    state = NetworkState.FAILED if error else NetworkState.READY
    NodeNetwork.objects.update_or_create(
        node=node,
        network=network,
        defaults={
            "bridge": network.bridge,
            "uplink": network.of_kind.uplink(network.options, node.name),
            "state": state,
            "error": error,
            "seen_at": timezone.now(),
        },
    )
    if known != (state, error):
        _tell_pages(network.pk)


def free_subnet(used: Iterable[str]) -> str:
    """The range that the option says, else the first of ours that overlaps none of these; raises CapacityError."""
    if settings.CONFIG.first_network:
        return str(settings.CONFIG.first_network)
    for candidate in FIRST_SUBNETS:
        if not any(overlap(candidate, each) for each in used):
            return candidate
    text = "The host uses addresses of every range that the first network could have; set FirstNetwork to a free one."
    raise CapacityError(text, field="network", candidates={})


def _with_subnet(network: Network, subnet: str) -> Network:
    parsed = ipaddress.ip_network(subnet)
    ranges = [(str(parsed[10]), str(parsed[-2]))]
    add_subnet(network, str(parsed), str(parsed[1]), nameservers=NAMESERVERS, ranges=ranges)
    return network
