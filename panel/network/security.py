"""Security groups: rules as people write them, and writing them. What nodes make of them: panel/vms/security.py.

A rule is a line: “in tcp 22 from 192.0.2.0/24”, “in udp 5000-5010”, “in any from office” (another group of the same
owner), “out any”.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import AlreadyExists, InvalidValue, LimitExceeded, NotFound, WrongState
from panel.core.wording import Text
from panel.network.models import SecurityGroup, SecurityRule

NAME = r"^[a-z][a-z0-9-]{0,62}$"
PROTOCOLS = ("any", "tcp", "udp", "icmp")
WITH_PORTS = ("tcp", "udp")
LINE = re.compile(
    r"(?P<direction>in|out)\s+(?P<protocol>[a-z0-9]+)(\s+(?P<first>\d{1,5})(-(?P<last>\d{1,5}))?)?"
    r"(\s+(?P<way>from|to)\s+(?P<peer>\S+))?\Z"
)
WAYS = {"in": "from", "out": "to"}
NO_RULE = (
    "“{rule}” is no rule. A rule is written as “in tcp 22 from 192.0.2.0/24”, “in udp 5000-5010”, “in icmp”, "
    "“in any from office” (another group) or “out any”."
)


def list_security_groups(viewer: User) -> QuerySet[SecurityGroup]:
    """The viewer's groups; administrators see everybody's. Raises AccessDenied (a scoped token)."""
    permissions.require(viewer, "vms.view")
    groups = SecurityGroup.objects.select_related("owner").prefetch_related("rules__peer")
    return groups if viewer.sees_all else groups.filter(owner=viewer)


def find_security_group(viewer: User, group_id: int) -> SecurityGroup | None:
    """One of them; None where it is absent or another's."""
    return list_security_groups(viewer).filter(pk=group_id).first()


def get_security_group(viewer: User, group_id: int) -> SecurityGroup:
    """The same; raises NotFound."""
    if (group := find_security_group(viewer, group_id)) is None:
        raise NotFound(object="security-group", id=group_id)
    return group


def groups_named(owner: User, names: Sequence[str], field: str = "groups") -> list[SecurityGroup]:
    """The owner's groups of these names; raises NotFound for one that he does not have."""
    there = {each.name: each for each in SecurityGroup.objects.filter(owner=owner, name__in=names)}
    for name in names:
        if name not in there:
            text = Text("{owner} has no security group “{name}”.", {"owner": owner.name, "name": name})
            raise NotFound(text, object="security-group", id=name, field=field)
    return [there[name] for name in dict.fromkeys(names)]


def parsed(lines: Iterable[str], owner: User) -> list[SecurityRule]:
    """The rules that the lines say, not saved.

    Raises InvalidValue, NotFound, LimitExceeded, with the field “rules”.
    """
    found = [_parsed(line, owner) for line in lines]
    if len(found) > (most := settings.CONFIG.security_rules_of_group):
        raise LimitExceeded(limit="security_rules", used=len(found), allowed=most, field="rules")
    return found


def _parsed(line: str, owner: User) -> SecurityRule:
    said = LINE.match(" ".join(line.lower().split()))
    if said is None or said["protocol"] not in PROTOCOLS:
        raise InvalidValue(Text(NO_RULE, {"rule": line}), field="rules")
    direction, way = said["direction"], said["way"]
    if way is not None and way != WAYS[direction]:
        raise InvalidValue("What comes in is “from” somebody, what goes out “to” somebody.", field="rules")
    first = int(said["first"] or 0)
    last = int(said["last"] or first)
    if said["first"] and said["protocol"] not in WITH_PORTS:
        raise InvalidValue(Text("Only tcp and udp have ports: “{rule}”.", {"rule": line}), field="rules")
    if said["first"] and not 1 <= first <= last <= 65535:
        raise InvalidValue(Text("Ports are from 1 to 65535: “{rule}”.", {"rule": line}), field="rules")
    rule = SecurityRule(direction=direction, protocol=said["protocol"], first_port=first, last_port=last)
    if said["peer"]:
        _set_peer(rule, said["peer"], owner)
    return rule


def _set_peer(rule: SecurityRule, text: str, owner: User) -> None:
    try:
        rule.cidr = str(ipaddress.ip_network(text))
    except ValueError:
        if not re.match(NAME, text):
            raise InvalidValue(
                Text("“{peer}” is neither a network, as 192.0.2.0/24, nor a group.", {"peer": text}), field="rules"
            ) from None
        rule.peer = groups_named(owner, [text], "rules")[0]


def refuse_new(owner: User, name: str) -> None:
    """Raise AlreadyExists for a name that the owner uses already, LimitExceeded where he has as many as he may."""
    refuse_taken(owner, name)
    used, most = SecurityGroup.objects.filter(owner=owner).count(), settings.CONFIG.security_groups_of_user
    if used >= most:
        raise LimitExceeded(limit="security_groups", used=used, allowed=most, field="name")


def refuse_taken(owner: User, name: str, but: int = 0) -> None:
    """Raise AlreadyExists for a name that another group of the owner's has."""
    if SecurityGroup.objects.filter(owner=owner, name=name).exclude(pk=but).exists():
        text = Text("There is a security group “{name}” already.", {"name": name})
        raise AlreadyExists(text, field="name", object="security-group")


@transaction.atomic
def add_group(owner: User, name: str, description: str, lines: Sequence[str]) -> SecurityGroup:
    """A new group; raises what refuse_new() and parsed() do."""
    # Two that are asked for at once cannot both be the last that is allowed.
    User.objects.select_for_update().only("pk").get(pk=owner.pk)
    refuse_new(owner, name)
    group = SecurityGroup.objects.create(owner=owner, name=name, description=description)
    _write_rules(group, parsed(lines, owner))
    return group


@transaction.atomic
def change_group(group: SecurityGroup, name: str, description: str, lines: Sequence[str]) -> None:
    """The group is as said; raises what refuse_taken() and parsed() do."""
    SecurityGroup.objects.select_for_update().get(pk=group.pk)
    refuse_taken(group.owner, name, but=group.pk)
    SecurityGroup.objects.filter(pk=group.pk).update(name=name, description=description)
    _write_rules(group, parsed(lines, group.owner))


def _write_rules(group: SecurityGroup, rules: Sequence[SecurityRule]) -> None:
    group.rules.all().delete()
    for each in rules:
        each.group = group
    SecurityRule.objects.bulk_create(rules)


def refuse_named(group: SecurityGroup) -> None:
    """Raise WrongState naming the other groups whose rules name this one."""
    others = SecurityGroup.objects.filter(rules__peer=group).exclude(pk=group.pk).distinct()
    if names := sorted(others.values_list("name", flat=True)):
        text = Text("Rules of other groups name it: {groups}.", {"groups": ", ".join(names)})
        raise WrongState(text, object="security-group", id=group.pk, state="named", field="id")


@transaction.atomic
def remove_group(group_id: int) -> None:
    """The group is not there."""
    group = SecurityGroup.objects.select_for_update().filter(pk=group_id).first()
    if group is not None:
        group.rules.all().delete()
        group.delete()


def lines_of(group: SecurityGroup) -> list[str]:
    """Its rules as people write them."""
    return [str(each) for each in group.rules.all()]
