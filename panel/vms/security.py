"""What security groups make of VMs' interfaces, and when nodes are told of it.

A node has an interface's rules with the interface itself (InterfaceSpec), so they go wherever the VM goes. What changes
in a group while VMs use it is told by security-group.apply; who is in a group that rules name changes by many ways, and
is looked at in every sweep.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from django.db.models import Prefetch, Q, QuerySet, prefetch_related_objects
from django.db.models.functions import Now

from nodeagent.protocol.host import InterfaceSpec, Security, SecurityRule
from nodeagent.protocol.network import PortState
from panel.accounts.system import system_user
from panel.cluster.models import Unsecured
from panel.network.models import SecurityGroup
from panel.network.models import SecurityRule as Rule
from panel.tasks import registry
from panel.vms.models import Interface, InterfaceAddress

MOST_ON_INTERFACE = 10
"""Groups of one interface."""
# When they were read is asked for before the rules are: these are as new as that at least.
GROUPS = Prefetch("security_groups", SecurityGroup.objects.annotate(read_at=Now()).prefetch_related("rules"))
OPEN_OUT = SecurityRule("out", "any")


def security_of(interface: Interface) -> Security | None:
    """What the interface's groups let through together, or what is usual without any; None: all passes."""
    if "security_groups" not in getattr(interface, "_prefetched_objects_cache", {}):
        prefetch_related_objects([interface], GROUPS)
    groups = list(interface.security_groups.all())
    if not groups:
        usual = interface.network.cluster.unsecured
        return Security([OPEN_OUT]) if usual == Unsecured.DENY_IN else None
    rules = [rule for group in groups for rule in group.rules.all()]
    members = members_of({rule.peer_id for rule in rules if rule.peer_id is not None})
    revision = int(groups[0].read_at.timestamp() * 1_000_000)  # type: ignore[attr-defined]
    return Security([_on_node(each, members) for each in rules], revision)


def _on_node(rule: Rule, members: dict[int, list[str]]) -> SecurityRule:
    peers = [rule.cidr] if rule.cidr else None
    if rule.peer_id is not None:
        peers = members[rule.peer_id]
    return SecurityRule(rule.direction, rule.protocol, rule.first_port, rule.last_port, peers)


def members_of(groups: Iterable[int]) -> dict[int, list[str]]:
    """The addresses of the interfaces in each of these groups."""
    found: dict[int, list[str]] = {each: [] for each in groups}
    if found:
        held = InterfaceAddress.objects.filter(interface__security_groups__in=found)
        for group, ip in held.values_list("interface__security_groups", "address__ip").order_by("address__ip"):
            if group in found:
                found[group].append(ip)
    return found


def interfaces_of(group: SecurityGroup) -> QuerySet[Interface]:
    """The interfaces whose rules the group is in, or named in."""
    named = Q(security_groups=group) | Q(security_groups__rules__peer=group)
    found = Interface.objects.filter(pk__in=Interface.objects.filter(named).values("pk"), attached=True)
    return found.select_related("vm", "network__cluster").prefetch_related(GROUPS, "port_forwards").with_ips()


def differs(interfaces: Sequence[InterfaceSpec], seen: Iterable[PortState]) -> bool:
    """Whether a VM's ports are other ones than its node has, or have other rules."""
    there = list(seen)
    if not all(each.in_force for each in there):
        return True
    return sorted(map(_terms, interfaces)) != sorted(_terms(each.interface) for each in there)


def _terms(spec: InterfaceSpec) -> tuple[str, ...]:
    rules = spec.security.rules if spec.security is not None else None
    return (spec.mac.lower(), spec.bridge, repr(sorted(spec.addresses)), repr(rules), repr(spec.forwards))


def by_vm(ports: Iterable[PortState]) -> dict[str, list[PortState]]:
    """The ports by the UUIDs of their VMs."""
    found = defaultdict(list)
    for each in ports:
        found[each.vm].append(each)
    return found


def watch_members() -> None:
    """Where others are in a group by now that rules name, have the nodes told; of several workers one does it."""
    named = list(SecurityGroup.objects.filter(named_in__isnull=False).distinct())
    members = members_of([each.pk for each in named])
    for group in named:
        digest = hashlib.sha256(" ".join(members[group.pk]).encode()).hexdigest()
        changed = SecurityGroup.objects.filter(pk=group.pk, members=group.members)
        if digest != group.members and changed.update(members=digest):
            registry.get("security-group.apply").submit(system_user(), {}, object_id=group.pk, queue=True)


def with_vms(groups: QuerySet[SecurityGroup]) -> QuerySet[SecurityGroup]:
    """The groups, each with its interfaces and their VMs."""
    return groups.prefetch_related(Prefetch("interfaces", Interface.objects.select_related("vm").order_by("vm__name")))
