"""Security groups: what their owners write, what nodes are told, and when."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest
from django.test import Client

from nodeagent.protocol.host import Security, SecurityRule
from panel.accounts.models import Level, User
from panel.cluster import fake
from panel.cluster.models import Node
from panel.cluster.services import set_policies
from panel.core.errors import NodeUnreachable, PanelError
from panel.images.models import Image
from panel.network.models import SecurityGroup
from panel.network.security import lines_of, parsed
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.vms.models import Vm
from panel.vms.security import watch_members
from tests.db.conftest import make_node, run_task

pytestmark = pytest.mark.django_db(transaction=True)
LINES = ["in tcp 22 from 192.0.2.0/24", "in udp 5000-5010", "in icmp", "in any from 2001:db8::/32", "out any"]


def do(viewer: User, operation: str, object_id: int | None = None, /, **raw: Any) -> Task:
    """The ended task."""
    task = run_task(registry.get(operation).submit(viewer, raw, object_id=object_id))
    assert task.status == Status.DONE, task.error
    return task


def add(viewer: User, name: str, *rules: str) -> SecurityGroup:
    """A group of theirs."""
    return SecurityGroup.objects.get(pk=do(viewer, "security-group.add", name=name, rules=[*rules]).object_id)


def refused(viewer: User, operation: str, object_id: int | None = None, /, **raw: Any) -> tuple[str, str | None]:
    """The code and the field of the refusal."""
    with pytest.raises(PanelError) as caught:
        registry.get(operation).submit(viewer, raw, object_id=object_id)
    return caught.value.code, caught.value.field


def vm_of(owner: User, name: str, **more: Any) -> Vm:
    """A VM of theirs."""
    asked = {"name": name, "image": "small", "flavor": "small", "password": "correct horse"}
    task = do(owner, "vm.create", **asked, **more)
    return Vm.objects.get(pk=task.object_id)


def give(viewer: User, vm: Vm, *names: str) -> None:
    """Its interface has these groups."""
    do(viewer, "vm.set-security-groups", vm.pk, interface=vm.interfaces.get().mac, groups=[*names])


def on_node(vm: Vm) -> Security | None:
    """What its node remembers of its port."""
    vm.refresh_from_db()
    (there,) = fake.node(vm.node_id or 0).ports[str(vm.uuid)]
    return there.security


def rules_on_node(vm: Vm) -> list[SecurityRule]:
    """The rules of it."""
    found = on_node(vm)
    assert found is not None
    return found.rules


def test_rules_are_written_as_lines_and_read_back_so(admin: User) -> None:
    assert lines_of(add(admin, "office", *LINES)) == LINES
    assert [str(each) for each in parsed(["  IN  tcp 80-80 ", "out tcp 443 to office"], admin)] == [
        "in tcp 80",
        "out tcp 443 to office",
    ]


NO_RULES = {
    "in tcp 22; drop": "invalid_value",
    "through tcp 22": "invalid_value",
    "in sctp": "invalid_value",
    "in icmp 8": "invalid_value",
    "in tcp 0": "invalid_value",
    "in tcp 70000": "invalid_value",
    "in tcp 90-80": "invalid_value",
    "in any to 192.0.2.0/24": "invalid_value",
    "in any from 192.0.2.1/24": "invalid_value",
    "in any from nobody": "not_found",
}


def test_what_is_no_rule_is_refused_at_its_field(admin: User) -> None:
    for line, code in NO_RULES.items():
        asked = {"name": "web", "rules": ["in tcp 80", line]}
        assert refused(admin, "security-group.add", **asked) == (code, "rules")
    assert not SecurityGroup.objects.exists()


def test_an_account_has_so_many_groups_of_so_many_rules(user: User, settings: Any) -> None:
    settings.CONFIG = copy(settings.CONFIG)
    settings.CONFIG.security_groups_of_user, settings.CONFIG.security_rules_of_group = 1, 2
    assert refused(user, "security-group.add", name="web", rules=["in icmp"] * 3) == ("limit_exceeded", "rules")
    add(user, "web", "in icmp")
    assert refused(user, "security-group.add", name="more") == ("limit_exceeded", "name")
    settings.CONFIG.security_groups_of_user = 2
    assert refused(user, "security-group.add", name="web") == ("already_exists", "name")


def test_another_s_groups_are_as_absent(user: User, admin: User, node: Node, image: Image) -> None:
    other = User.objects.create_user("other", "correct horse", level=Level.USER)
    theirs, vm = add(other, "theirs", "in icmp"), vm_of(user, "web")
    assert refused(user, "security-group.change", theirs.pk, name="mine")[0] == "not_found"
    assert refused(user, "security-group.add", name="web", owner="other")[0] == "not_found"
    asked = {"interface": vm.interfaces.get().mac, "groups": ["theirs"]}
    # Nor is it the administrator's to mix owners.
    for viewer in (user, admin):
        assert refused(viewer, "vm.set-security-groups", vm.pk, **asked) == ("not_found", "groups")
    do(admin, "security-group.change", theirs.pk, rules=["out any"])


def test_a_vm_s_node_filters_by_its_groups_at_once_and_wherever_it_goes(
    user: User, admin: User, node: Node, image: Image
) -> None:
    vm, ssh, web = vm_of(user, "web"), add(user, "ssh", LINES[0]), add(user, "web", "in tcp 80")
    assert on_node(vm) is None
    give(user, vm, "ssh", "web")
    expected = [SecurityRule("in", "tcp", 22, 22, ["192.0.2.0/24"]), SecurityRule("in", "tcp", 80, 80)]
    assert rules_on_node(vm) == expected
    do(user, "security-group.change", web.pk, rules=["in tcp 443"])
    expected[1] = SecurityRule("in", "tcp", 443, 443)
    assert rules_on_node(vm) == expected
    other = make_node("fake2")
    do(admin, "vm.migrate", vm.pk, node=other.name)
    assert rules_on_node(vm) == expected and vm.node_id == other.pk
    assert str(vm.uuid) not in fake.node(node.pk).ports
    for group in (ssh, web):
        assert refused(user, "security-group.remove", group.pk)[0] == "wrong_state"
    give(user, vm)
    assert on_node(vm) is None
    do(user, "security-group.remove", web.pk)
    assert not SecurityGroup.objects.filter(pk=web.pk).exists()


def test_who_is_in_a_group_that_rules_name_is_told_when_it_changes(user: User, node: Node, image: Image) -> None:
    office, data = add(user, "office"), add(user, "data", "in any from office")
    assert refused(user, "security-group.remove", office.pk)[0] == "wrong_state"
    database, first, second = (vm_of(user, name) for name in ("database", "first", "second"))
    give(user, database, "data")
    assert rules_on_node(database) == [SecurityRule("in", "any", peers=[])]
    for vm in (first, second):
        give(user, vm, "office")
    swept()
    addresses = sorted(ip for vm in (first, second) for ip in vm.interfaces.get().ips)
    assert rules_on_node(database) == [SecurityRule("in", "any", peers=addresses)]
    do(user, "vm.delete", second.pk)
    swept()
    assert rules_on_node(database) == [SecurityRule("in", "any", peers=first.interfaces.get().ips)]
    before = Task.objects.count()
    watch_members()
    assert Task.objects.count() == before
    assert data.rules.get().peer == office


def swept() -> None:
    """A sweep, and what it asks for."""
    last = Task.objects.latest("pk").pk
    watch_members()
    for task in Task.objects.filter(pk__gt=last):
        assert run_task(task).status == Status.DONE


def test_a_node_that_was_away_or_lost_the_rules_has_them_from_its_check_on(
    user: User, admin: User, node: Node, image: Image
) -> None:
    vm, group = vm_of(user, "web"), add(user, "ssh", LINES[0])
    give(user, vm, "ssh")
    away = NodeUnreachable(node=node.name, reason="it is off")
    fake.node(node.pk).fail("security_update", away)
    task = do(user, "security-group.change", group.pk, rules=["in icmp"])
    assert any("next check" in each.text for each in task.log.all())
    assert rules_on_node(vm)[0].protocol == "tcp"
    do(admin, "node.check", node.pk)
    assert rules_on_node(vm) == [SecurityRule("in", "icmp")]
    fake.node(node.pk).ports.clear()
    found = do(admin, "cluster.examine", 1).result["findings"]
    assert [(each["code"], each["mend"]) for each in found] == [("security_differs", "node.check")]
    do(admin, "node.check", node.pk)
    assert do(admin, "cluster.examine", 1).result["findings"] == []
    assert rules_on_node(vm) == [SecurityRule("in", "icmp")]


def test_interfaces_without_a_group_have_what_the_policy_says(
    user: User, admin: User, node: Node, image: Image
) -> None:
    vm = vm_of(user, "web")
    set_policies(node.cluster, {"unsecured": "deny-in"})
    do(admin, "node.check", node.pk)
    assert rules_on_node(vm) == [SecurityRule("out", "any")]
    assert rules_on_node(vm_of(user, "new")) == [SecurityRule("out", "any")]


def test_a_vm_takes_no_groups_of_its_owner_s_to_another_one(user: User, admin: User, node: Node, image: Image) -> None:
    vm = vm_of(user, "web")
    add(user, "ssh", LINES[0])
    give(user, vm, "ssh")
    assert refused(admin, "vm.change-owner", vm.pk, owner=admin.name) == ("wrong_state", "owner")
    give(user, vm)
    do(admin, "vm.change-owner", vm.pk, owner=admin.name)


def test_a_new_vm_and_a_new_interface_have_groups_from_the_start_and_a_clone_those_of_its_original(
    user: User, node: Node, image: Image
) -> None:
    add(user, "ssh", LINES[0])
    vm = vm_of(user, "web", security_groups=["ssh"])
    assert rules_on_node(vm)[0].first == 22
    assert refused(user, "vm.add-interface", vm.pk, security_groups=["none"]) == ("not_found", "security_groups")
    copy = Vm.objects.get(pk=do(user, "vm.clone", vm.pk, name="copy", password="another horse").result["vm"])
    assert rules_on_node(copy) == rules_on_node(vm)


def test_the_page_lists_one_s_groups_and_makes_one(user: User, admin: User, node: Node, image: Image) -> None:
    client = Client()
    client.force_login(user)
    answer = client.post("/security-groups/new", {"name": "web", "rules": "in tcp 80\nin nothing"})
    assert answer.status_code == 422 and "in nothing" in answer.content.decode()
    assert client.post("/security-groups/new", {"name": "web", "rules": "in tcp 80\nout any"}).status_code == 204
    page = client.get("/security-groups").content.decode()
    assert "in tcp 80" in page and 'data-verb="change"' in page
    group, vm = SecurityGroup.objects.get(), vm_of(user, "shop")
    dialog = client.get(f"/security-groups/{group.pk}/do/change").content.decode()
    assert "in tcp 80\nout any" in dialog
    mac = vm.interfaces.get().mac
    dialog = client.get(f"/vms/{vm.pk}/do/set-security-groups?interface={mac}").content.decode()
    assert '<option value="web">web</option>' in dialog
    address = f"/vms/{vm.pk}/do/set-security-groups?interface={mac}"
    assert client.post(address, {"interface": mac, "groups": ["web"]}).status_code in (200, 204)
    run_task(Task.objects.latest("pk"))
    assert "web" in client.get(f"/vms/{vm.pk}/devices").content.decode()
