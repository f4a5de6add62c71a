"""Giving out addresses, releasing them, and the network that a new cluster begins with."""

from __future__ import annotations

import ipaddress
import itertools
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

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
from panel.network.places import ip_at, place_of
from panel.network.ranges import ANYBODY, Taker, free_by_version, free_place, ranges_for, spans, taken
from panel.network.selectors import given_versions
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


def allocate(network: Network, wanted: str | None = None, taker: Taker = ANYBODY) -> list[Address]:
    """Take what an interface in the network has: a free address of each version that it has ranges of for the taker.

    With `wanted` that one is taken instead of its version's, also where it is reserved for the taker's VMs. A network
    without ranges gives none. Must run in a transaction: the network's row is held meanwhile, so two who ask at once
    get other addresses; the unique constraint stands behind that.

    Raises CapacityError when none of a version is free, WrongState while the network is being removed, and what
    refuse_not_free raises.
    """
    network = _held(network)
    found: dict[int, Address] = {}
    if wanted is not None:
        refuse_not_free(network, wanted, taker=taker)
        found[ipaddress.ip_address(wanted).version] = _taken(network, wanted)
    for version in _versions(network, taker) - found.keys():
        found[version] = _taken(network, _any_free(network, version, taker))
    return [found[version] for version in sorted(found)]


def _versions(network: Network, taker: Taker) -> set[int]:
    """Of which versions of IP the taker gets addresses; raises CapacityError where he asks for a purpose in vain."""
    found = given_versions(network, taker)
    if taker.purpose and not found:
        raise full(network)
    return found


def allocate_one(network: Network, wanted: str | None, version: int, taker: Taker) -> Address:
    """Take one more address: the named one, also where it is reserved for the taker's VMs, or a free one.

    Must run in a transaction, and raises what allocate() does.
    """
    network = _held(network)
    if wanted is not None:
        refuse_not_free(network, wanted, taker=taker)
    return _taken(network, wanted or _any_free(network, version, taker))


def _taken(network: Network, ip: str) -> Address:
    """The address in use; one that was reserved stays so, and one that waited for its owner waits no more."""
    ip = str(ipaddress.ip_address(ip))
    there = network.addresses.filter(ip=ip).first()
    if there is None:
        return Address.objects.create(network=network, ip=ip)
    if there.waits_until is not None:
        there.waits_until, there.owner, there.allocated_at = None, None, timezone.now()
        there.save()
    return there


def refuse_none_free(network: Network, wanted: str | None, version: int, taker: Taker) -> None:
    """Raise what allocate_one() would, as the network is just now."""
    refuse_removing(network)
    if wanted is not None:
        refuse_not_free(network, wanted, taker=taker)
    elif free_by_version(network, taker).get(version, 0) < 1:
        raise full(network)


def _held(network: Network) -> Network:
    """The network as it is now, held until the transaction ends; raises WrongState while it is being removed.

    What waited long enough, or was reserved until now, is free.
    """
    found = Network.objects.select_for_update().prefetch_related("subnets__ranges", "subnets__excluded")
    held = found.get(pk=network.pk)
    refuse_removing(held)
    let_go(held)
    return held


def let_go(network: Network) -> None:
    """Free the addresses of the network that have waited long enough, and end the reservations that are over."""
    now = timezone.now()
    network.addresses.filter(waits_until__lte=now).delete()
    for each in network.addresses.filter(reserved=True, expires_at__lte=now):
        end_reservation(each)


def refuse_removing(network: Network) -> None:
    """Raise WrongState for a network that is being removed."""
    if network.removing:
        text = Text("The network “{network}” is being removed.", {"network": network.name})
        raise WrongState(text, object="network", id=network.pk, state="being removed", field="network")


def _any_free(network: Network, version: int, taker: Taker) -> str:
    if (free := free_place(network, version, taker)) is None:
        raise full(network)
    return ip_at(free)


def full(network: Network) -> CapacityError:
    """That no address of the network is free."""
    text = Text("The network “{network}” has no free address.", {"network": network.name})
    return CapacityError(text, field="network", candidates={})


def refuse_full(network: Network, wanted: str | None = None, taker: Taker = ANYBODY) -> None:
    """Raise what allocate() would, as the network is just now."""
    refuse_removing(network)
    if wanted is not None:
        refuse_not_free(network, wanted, taker=taker)
    elif _versions(network, taker) and any(free < 1 for free in free_by_version(network, taker).values()):
        raise full(network)


def allocate_certain(network: Network, ip: str) -> Address:
    """Take just this address of the network, in its ranges or not; must run in a transaction.

    Raises InvalidValue for one that no guest can have, AlreadyExists for one in use.
    """
    held = _held(network)
    refuse_address(held, ip)
    return _taken(held, ip)


def refuse_address(network: Network, ip: str) -> None:
    """Raise what keeps a guest from having this address of the network; see allocate_certain."""
    refuse_no_guests(network, ip)
    if taken().filter(network=network, ip=ip).exists():
        raise AlreadyExists(
            Text("The address {address} is in use.", {"address": str(ip)}), field="addresses", object="address"
        )


def refuse_no_guests(network: Network, ip: str) -> None:
    """Raise InvalidValue for what is no address that a guest of the network could have, in its ranges or not."""
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


def _of_its_own(subnet: Subnet) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The addresses of a subnet that are no guest's."""
    gateway, parsed = {ipaddress.ip_address(subnet.gateway)} if subnet.gateway else set(), subnet.parsed
    if parsed.max_prefixlen - parsed.prefixlen < 2:
        return gateway
    return gateway | {parsed.network_address} | ({parsed.broadcast_address} if parsed.version == 4 else set())


def refuse_not_free(network: Network, ip: str, field: str = "address", taker: Taker = ANYBODY) -> None:
    """Raise InvalidValue for what is no address of the network's ranges for the taker, AlreadyExists for one in use.

    One that is reserved for his VMs, or waits since it was his, is free for him while no interface has it.
    """
    try:
        wanted = ipaddress.ip_address(ip)
    except ValueError:
        raise InvalidValue(Text("“{address}” is not an IP address.", {"address": ip}), field=field) from None
    there = taken().filter(network=network, ip=str(wanted)).first()
    if there is not None and is_for(there, taker):
        return
    place = place_of(str(wanted))
    if not any(first <= place <= last for pool in ranges_for(network, taker) for first, last in spans(pool)):
        raise InvalidValue(
            Text("{address} is not in the ranges of “{network}”.", {"address": str(wanted), "network": network.name}),
            field=field,
        )
    if there is not None:
        raise AlreadyExists(
            Text("The address {address} is in use.", {"address": str(wanted)}), field=field, object="address"
        )


def is_for(address: Address, taker: Taker) -> bool:
    """Whether an address that is reserved or waits, and that no interface has, may be had by the taker's VMs."""
    kept = address.reserved or address.waits_until is not None
    return (
        kept
        and taker.owner_id is not None
        and address.owner_id == taker.owner_id
        and not users(address.network, [address])
    )


def reserve(
    network: Network,
    wanted: str | None,
    version: int = 4,
    owner: User | None = None,
    comment: str = "",
    *,
    purpose: str = "",
    expires_at: datetime | None = None,
) -> Address:
    """Take an address that no interface has, and that stays in use until it is released; must run in a transaction.

    Raises what allocate() does.
    """
    network = _held(network)
    taker = Taker(owner.pk if owner is not None else None, purpose=purpose)
    if wanted is not None:
        refuse_not_free(network, wanted, taker=replace(taker, everywhere=True))
    made = _taken(network, wanted or _any_free(network, version, taker))
    made.reserved, made.owner, made.comment, made.expires_at = True, owner, comment, expires_at
    made.save()
    _tell_pages(network.pk)
    return made


def reserve_all(network: Network, wanted: Sequence[tuple[str, User | None, str]]) -> tuple[int, list[str]]:
    """Reserve these addresses, each with an owner and a comment; answers how many, and those that were in use already.

    They may lie beside the ranges. Must run in a transaction.
    """
    held = _held(network)
    ips = [ip for ip, _owner, _comment in wanted]
    there = set(held.addresses.filter(ip__in=ips).values_list("ip", flat=True))
    made = [
        Address(network=held, ip=ip, reserved=True, owner=owner, comment=comment)
        for ip, owner, comment in wanted
        if ip not in there
    ]
    Address.objects.bulk_create(made, batch_size=500)
    _tell_pages(held.pk)
    return len(made), [ip for ip in ips if ip in there]


def end_reservation(address: Address) -> None:
    """Reserve the address no more, and let it wait no longer: it is free where no interface has it."""
    if users(address.network, [address]):
        Address.objects.filter(pk=address.pk).update(reserved=False, owner=None, comment="", expires_at=None)
    else:
        address.delete()
    _tell_pages(address.network_id)


def release(*address_ids: int, had_by: int | None = None) -> None:
    """Make the addresses free again, but for those that are reserved; released already is success.

    With `had_by`, the owner whose VM had them, they wait for AddressWaitHours, and are his alone meanwhile.
    """
    found = Address.objects.filter(pk__in=address_ids, reserved=False, waits_until=None)
    hours = settings.CONFIG.address_wait_hours
    if had_by is None or not hours:
        found.delete()
    else:
        found.update(waits_until=timezone.now() + timedelta(hours=hours), owner=had_by, comment="")


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
