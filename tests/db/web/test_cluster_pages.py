"""The pages of the cluster: what is found in their lists, and what can be changed from them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from nodeagent.protocol import host
from panel.accounts.models import JournalEntry, Level, User
from panel.cluster import fake
from panel.cluster.models import Cluster, Node, NodeState
from panel.core.errors import CommandFailed
from panel.images.models import Flavor, Image
from panel.monitoring.models import NodeWatch
from panel.network.models import Address, Network, NodeNetwork
from panel.network.selectors import free_count, list_networks
from panel.network.services import ensure_default_network
from panel.network.subnets import add_subnet
from panel.notices.models import Problem, Severity
from panel.storage.services import ensure_default_pool
from panel.tasks import registry
from panel.tasks.models import Status, Task
from panel.usage.models import Entry
from panel.vms.models import Interface, InterfaceAddress, Vm
from panel.web import words
from tests.contract.subjects import make_spec
from tests.db.conftest import make_node, run_task
from tests.db.monitoring.messages import make_vm
from tests.db.web.buttons import buttons, elements
from tests.db.web.test_pages import signed_in


def text(client: Client, path: str, status: int = 200, **headers: str) -> str:
    answer = client.get(path, secure=True, headers=headers)
    assert answer.status_code == status, path
    body = answer.getvalue() if answer.streaming else answer.content
    return bytes(body).decode()


def _task(owner: User, name: str, **fields: Any) -> Task:
    known = {"operation": "vm.start", "object_type": "vm", "object_id": 7, "object_name": name, "status": Status.DONE}
    return Task.objects.create(**{"title": f"Start VM {name}", "owner": owner, **known, **fields})


@pytest.fixture
def tasks(admin: User, user: User) -> None:
    """Three: of two owners, about two kinds, in three states."""
    _task(admin, "shop", request_id="req-17")
    _task(user, "mail", status=Status.FAILED, operation="vm.delete", title="Delete VM mail")
    _task(admin, "rack9", status=Status.RUNNING, operation="node.check", object_type="node", title="Check node rack9")


FOUND: tuple[tuple[str, set[str]], ...] = (
    ("", {"shop", "mail", "rack9"}),
    ("search=sho", {"shop"}),
    ("search=req-17", {"shop"}),
    ("search=99999999999999999999999", set()),
    ("search=delete", {"mail"}),
    ("search=node.check", {"rack9"}),
    ("status=failed", {"mail"}),
    ("status=open", {"rack9"}),
    ("status=nonsense", {"shop", "mail", "rack9"}),
    ("kind=node", {"rack9"}),
    ("owner=anna", {"mail"}),
    ("kind=vm&status=done", {"shop"}),
)


@pytest.mark.usefixtures("tasks")
def test_tasks_are_found_by_what_they_are_about_how_they_are_and_whose(admin: User, user: User) -> None:
    client = signed_in(admin)
    for asked, names in FOUND:
        for page in (text(client, f"/tasks?{asked}"), text(client, f"/tasks?{asked}&format=csv")):
            assert {name for name in ("shop", "mail", "rack9") if f" {name}" in page} == names, asked
    # Newest first, and a customer has their own.
    page = text(client, "/tasks")
    assert page.index("VM mail") < page.index("VM shop")
    theirs = text(signed_in(user), "/tasks?owner=admin")
    assert "VM shop" not in theirs and "VM mail" in theirs and 'value="admin"' not in theirs


@pytest.mark.usefixtures("tasks")
def test_a_task_says_who_asked_when_how_long_it_took_and_what_it_did(admin: User) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    task = Task.objects.get(object_name="shop")
    Task.objects.update(started_at=began, finished_at=began + timedelta(seconds=75), created_by=admin)
    task.steps.create(position=0, name="start", title="Start it", started_at=began, finished_at=began)
    for number in range(3):
        task.log.create(text=f"line {number}")
    page = text(signed_in(admin), f"/tasks/{task.pk}")
    for told in ("Start VM shop", "1:15 min", "req-17", "line 0", "line 2", "0.0 s", 'href="/vms/7"', "vm.start"):
        assert told in page, told
    assert page.index("line 0") < page.index("line 2")
    region = text(signed_in(admin), f"/tasks/{task.pk}", **{"HX-Request": "true", "HX-Target": "task"})
    assert region.startswith('<div id="task"') and f'data-live="task:{task.pk}"' in region


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, ""), (0.44, "0.4 s"), (12, "12 s"), (185, "3:05 min"), (3723, "1:02:03 h")]
)
def test_a_duration_is_told_as_people_say_it(seconds: float | None, told: str) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    assert words.took(began, began + timedelta(seconds=seconds) if seconds is not None else None) == told


def test_problems_are_found_by_how_bad_they_are_and_lead_to_their_object(admin: User, node: Node) -> None:
    for number, severity in enumerate(Severity.values):
        about = {"object_type": "node", "object_id": node.pk} if severity == "error" else {}
        keys = {"key": f"k{number}", "open_key": f"k{number}"}
        Problem.objects.create(**keys, severity=severity, text=f"It {severity}s.", **about)
    Problem.objects.create(key="old", severity="error", text="It was.")
    client = signed_in(admin)
    asked = {"": Severity.values, "severity=error": ["error"], "kind=node": ["error"], "search=alarm": ["alarm"]}
    for query, told in asked.items():
        page = text(client, f"/problems?{query}")
        assert [each for each in Severity.values if f"It {each}s." in page] == told, query
        assert "It was." not in page
    assert f'href="/nodes/{node.pk}"' in text(client, "/problems")


@pytest.mark.parametrize("path", ["/tasks", "/problems", "/nodes", "/networks", "/health"])
def test_a_list_makes_the_same_queries_for_few_and_many(admin: User, path: str) -> None:
    client = signed_in(admin)

    def more(count: int, asked: str) -> int:
        for number in range(count):
            key = f"{count}-{number}-{len(asked)}"
            _task(admin, key)
            Problem.objects.create(key=key, open_key=key, severity="error", text=key, object_type="vm", object_id=1)
            make_node(f"node{key}")
        with CaptureQueriesContext(connection) as captured:
            text(client, f"{path}{asked}")
        return len(captured)

    for asked in ("", "?format=csv"):
        text(client, f"{path}{asked}")
        few = more(2, asked)
        assert more(20, asked) == few <= 14


def post(client: Client, path: str, **values: Any) -> Any:
    return client.post(path, values, secure=True, headers={"HX-Request": "true"})


def test_nodes_are_found_and_say_how_full_they_are(admin: User, node: Node) -> None:
    facts = {"memory_mib": 4096, "memory_free_mib": 1024, "cpu_count": 8}
    Node.objects.filter(pk=node.pk).update(facts=facts)
    make_node("rack2", maintenance=True)
    Node.objects.filter(name="rack2").update(state=NodeState.UNREACHABLE)
    Problem.objects.create(key="k", open_key="k", severity="error", text="?", object_type="node", object_id=node.pk)
    client = signed_in(admin)
    page = text(client, "/nodes")
    for told in ('value="3072" aria-label="Memory"', "3 GiB of 4 GiB", "0 of 8", "in maintenance"):
        assert told in page, told
    asked = {"search=rack": "rack2", "state=ready": "fake1", "maintenance=yes": "rack2", "maintenance=no": "fake1"}
    for query, name in asked.items():
        found = text(client, f"/nodes?{query}")
        assert [each for each in ("fake1", "rack2") if f">{each}<" in found] == [name], query


def test_a_node_says_what_it_has_and_what_cannot_be_made_on_it(admin: User, node: Node) -> None:
    network = ensure_default_network(node.cluster)
    state = {
        "bridge": "br0",
        "uplink": "eth0",
        "state": "failed",
        "error": "There is no eth0.",
        "seen_at": timezone.now(),
    }
    NodeNetwork.objects.update_or_create(node=node, network=network, defaults=state)
    page = text(signed_in(admin), f"/nodes/{node.pk}")
    for told in (
        "cannot be made",
        "There is no eth0.",
        "<code>br0</code>",
        "<code>eth0</code>",
        "never heard",
        'name="max_vms"',
    ):
        assert told in page, told
    assert {"check", "maintain", "evacuate", "remove"} <= buttons(page).keys()
    reader = text(signed_in(User.objects.create_user("auditor", "x", level=Level.READONLY)), f"/nodes/{node.pk}")
    assert not buttons(reader) and 'name="max_vms"' not in reader
    for name in ("head", "host", "node-vms"):
        region = text(signed_in(admin), f"/nodes/{node.pk}", **{"HX-Request": "true", "HX-Target": name})
        assert region.startswith(f'<div id="{name}"')


def test_a_service_of_a_node_is_restarted_from_its_page(admin: User, node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(facts={**node.facts, "libvirt": "silent"})
    NodeWatch.objects.create(node=node, heard_at=timezone.now())
    client = signed_in(admin)
    page = text(client, f"/nodes/{node.pk}")
    shown = {
        name: page.partition(f'data-service="{name}"')[2].partition("</li>")[0] for name in ("libvirtd", "vmwatch-node")
    }
    assert "gives no answer" in shown["libvirtd"] and "speaks" in shown["vmwatch-node"]
    address = f"/nodes/{node.pk}/do/restart-service?service=libvirtd"
    assert address in shown["libvirtd"] and "restart-service?service=vmwatch-node" in shown["vmwatch-node"]
    dialog = text(client, address)
    assert 'value="libvirtd"' in dialog and "Service: <b>libvirtd</b>" in dialog
    memory = fake.node(node.pk)
    spec = host.DomainSpec("0a3c1de5-77aa-4d2e-9c11-2f4a5b6c7d8e", "shop", 128, 1, "qemu", [], [])
    memory.domains[spec.uuid] = fake.FakeDomain(spec, "running")
    assert post(client, address, service="libvirtd", dialog=1).status_code == 204
    done = run_task(Task.objects.get(operation="node.restart-service"))
    assert done.status == Status.DONE and done.result.items() >= {"guests": 1, "ended": [], "reachable": True}.items()
    assert memory.restarted == ["libvirtd"]
    assert "restart-service" not in text(
        signed_in(User.objects.create_user("x", "x", level=Level.READONLY)), f"/nodes/{node.pk}"
    )


def test_a_node_is_called_otherwise(admin: User, node: Node) -> None:
    make_node("fake2")
    client = signed_in(admin)
    for name, said in (("Rack 1", "a-z"), ("fake2", "Another node has this name."), ("", "required")):
        answer = post(client, f"/nodes/{node.pk}/settings", name=name, max_vms="")
        assert (answer.status_code, said in answer.content.decode()) == (422, True), name
    assert post(client, f"/nodes/{node.pk}/settings", name="rack1", max_vms="").status_code == 204
    assert Node.objects.get(pk=node.pk).name == "rack1"
    entry = JournalEntry.objects.get(action="node.change")
    assert (entry.before, entry.after, entry.object_name) == ({"name": "fake1"}, {"name": "rack1"}, "fake1")


def _most_vms() -> int | None:
    return Node.objects.get(name="fake1").max_vms


CHANGES: tuple[tuple[str, dict[str, Any], int, Callable[[], Any], Any], ...] = (
    (
        "/nodes/{node}/settings",
        {"name": "fake1", "max_vms": "7"},
        204,
        _most_vms,
        7,
    ),
    (
        "/nodes/{node}/settings",
        {"name": "fake1", "max_vms": "-1"},
        422,
        _most_vms,
        None,
    ),
    (
        "/nodes/{node}/settings",
        {"name": "fake1", "max_vms": ""},
        204,
        _most_vms,
        None,
    ),
    ("/nodes/4711/settings", {"max_vms": "7"}, 404, _most_vms, None),
    (
        "/cluster",
        {"memory_overselling_percent": 150, "disk_overselling_percent": 200, "check_vm_status": "on"},
        204,
        lambda: Cluster.objects.values_list("memory_overselling_percent", "check_vm_status").get(),
        (150, True),
    ),
    (
        "/cluster",
        {"memory_overselling_percent": 10, "disk_overselling_percent": 200},
        422,
        lambda: Cluster.objects.get().memory_overselling_percent,
        100,
    ),
)


@pytest.mark.parametrize(("path", "values", "status", "read", "then"), CHANGES)
def test_settings_are_changed_by_those_who_may(
    admin: User,
    user: User,
    node: Node,
    path: str,
    values: dict[str, Any],
    status: int,
    read: Callable[[], Any],
    then: Any,
) -> None:
    address, before = path.format(node=node.pk), read()
    for other in (user, User.objects.create_user("auditor", "x", level=Level.READONLY)):
        assert post(signed_in(other), address, **values).status_code == 404
    assert read() == before
    answer = post(signed_in(admin), address, **values)
    assert (answer.status_code, read()) == (status, then)
    if status == 422:
        assert b"is-invalid" in answer.content
    if status == 204:
        assert "Saved." in answer.headers["HX-Trigger"]


def test_a_host_s_key_is_shown_and_confirmed_before_a_node_is_asked_for(admin: User, user: User) -> None:
    client, where = signed_in(admin), {"address": "rack1.example.com", "ssh_port": 2222}
    make_node("fake9", ssh_port=2222)
    for change, said in (
        ({"address": ""}, "required"),
        ({"address": "fake9.invalid"}, "Another node has this address."),
    ):
        answer = post(client, "/nodes/new", **{**where, **change})
        assert (answer.status_code, said in answer.content.decode()) == (422, True), change
    assert not Task.objects.exists()
    answer = post(client, "/nodes/new", **where)
    task = Task.objects.get()
    page = f"/nodes/new?task={task.pk}"
    assert (task.operation, answer.headers["HX-Redirect"]) == ("cluster.read-host-key", page)
    assert f'data-live="task:{task.pk}"' in text(client, page) and "node-add" not in text(client, page)
    keys = [{"kind": "ssh-ed25519", "fingerprint": "SHA256:one"}, {"kind": "ssh-rsa", "fingerprint": "SHA256:two"}]
    Task.objects.filter(pk=task.pk).update(status=Status.DONE, result={**where, "keys": keys})
    shown = text(client, page, **{"HX-Request": "true", "HX-Target": "node-new"})
    assert all(each in shown for each in ("SHA256:one", "SHA256:two", "ssh-keygen -lf", "rack1.example.com:2222"))
    _refused_until_it_is_right(client, page)
    assert post(signed_in(user), page).status_code == 404
    assert post(client, "/nodes/new?task=4711").status_code == 404


def _refused_until_it_is_right(client: Client, page: str) -> None:
    right = {"name": "rack1", "ssh_user": "root", "password": "x", "host_key": "SHA256:two", "confirmed": "on"}
    wrong: tuple[tuple[dict[str, str], str], ...] = (
        ({"name": "Rack 1"}, "use a-z"),
        ({"name": ""}, "required"),
        ({"name": "fake9"}, "Another node has this name."),
        ({"key": "no-such-key"}, "key"),
        ({"confirmed": ""}, "Compare the fingerprint on the host"),
        ({"host_key": "SHA256:three"}, "SHA256:three"),
    )
    for change, said in wrong:
        answer = post(client, page, **{**right, **change})
        assert (answer.status_code, said in answer.content.decode()) == (422, True), change
        assert not Node.objects.filter(name="rack1").exists() and "no-such-key" not in answer.content.decode()
        assert "x" not in [each.get("value") for _tag, each in elements(answer.content.decode())]
    # What the browser says of the host is not asked: the key was another's.
    answer = post(client, page, **right, address="elsewhere.example.com")
    made = Node.objects.get(name="rack1")
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, f"/nodes/{made.pk}")
    assert (made.address, made.ssh_port) == ("rack1.example.com", 2222)
    assert Task.objects.get(operation="node.add").params["host_key"] == "SHA256:two"
    assert 'class="steps"' in text(client, f"/nodes/{made.pk}")


def test_a_host_that_shows_no_key_is_asked_for_again(admin: User) -> None:
    error = {"code": "operation_failed", "message": "The node “rack1” cannot be reached: no answer."}
    about = {"operation": "cluster.read-host-key", "params": {"address": "rack1", "ssh_port": 22}, "title": "Read"}
    task = Task.objects.create(status=Status.FAILED, error=error, **about)
    page = text(signed_in(admin), f"/nodes/new?task={task.pk}")
    assert error["message"] in page and 'value="rack1"' in page and "node-where" in page


@pytest.fixture
def vm(user: User, node: Node) -> Vm:
    """A VM of the customer's with an address."""
    network, pool = ensure_default_network(node.cluster), ensure_default_pool(node.cluster)
    vm = Vm.objects.create(name="shop", cluster=node.cluster, node=node, pool=pool, owner=user, memory_mib=64, vcpus=1)
    interface = Interface.objects.create(vm=vm, network=network, mac="52:54:00:aa:00:01")
    for number, holder in ((10, interface), (11, None)):
        address = Address.objects.create(network=network, ip=f"10.77.0.{number}")
        if holder is not None:
            InterfaceAddress.objects.create(interface=holder, address=address, primary=4)
    return vm


@pytest.mark.usefixtures("vm")
def test_addresses_are_found_by_what_they_are_and_who_has_them(admin: User, user: User) -> None:
    asked = {"": {10, 11}, "search=10.77.0.11": {11}, "search=sho": {10}, "search=anna": {10}, "network=nat": {10, 11}}
    for viewer, may in ((admin, {10, 11}), (user, {10})):
        for query, numbers in asked.items():
            page = text(signed_in(viewer), f"/addresses?{query}")
            assert {each for each in (10, 11) if f">10.77.0.{each}<" in page} == numbers & may, (viewer, query)
    assert text(signed_in(admin), "/addresses?format=csv").count("10.77.0.") == 2


@pytest.mark.usefixtures("vm")
def test_networks_tell_their_ranges_and_what_is_left_of_them(admin: User, user: User) -> None:
    page = text(signed_in(admin), "/networks")
    (network,) = list_networks(admin)
    for told in (network.name, network.subnet, f">{free_count(network)}<", f"?network={network.name}", network.bridge):
        assert told in page, told
    assert "<tbody><tr" not in text(signed_in(admin), "/networks?search=nothing").replace("\n", "")
    text(signed_in(user), "/networks", 404)


def test_a_network_is_asked_for_and_its_page_shows_its_subnets(admin: User, user: User, node: Node) -> None:
    client = signed_in(admin)
    right = {"name": "public", "kind": "nat", "subnet": "10.210.0.0/24", "ranges": "10.210.0.9-10.210.0.12"}
    wrong = (
        ({"name": "private"}, "There is a network “private” already."),
        ({"subnet": ""}, "it needs a subnet"),
        ({"ranges": "10.210.0.9-9"}, "is no range of addresses"),
        ({"gateway": "10.211.0.1"}, "does not lie in"),
    )
    for change, told in wrong:
        answer = post(client, "/networks/new", **{**right, **change})
        assert (answer.status_code, b"is-invalid" in answer.content) == (422, True), change
        assert told in answer.content.decode() and Network.objects.count() == 1
    assert post(signed_in(user), "/networks/new", **right).status_code == 404
    answer = post(client, "/networks/new", **right)
    made = Network.objects.get(name="public")
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, f"/networks/{made.pk}")
    run_task(Task.objects.get(operation="network.add"))
    page = text(client, f"/networks/{made.pk}")
    for told in ("10.210.0.0/24", "10.210.0.9 – 10.210.0.12", "4 free", made.bridge, ">fake1<"):
        assert told in page, told
    assert {"add-subnet", "change", "change-subnet", "remove-subnet", "remove"} <= buttons(page).keys()
    dialog = text(client, f"/networks/{made.pk}/do/change-subnet?subnet=10.210.0.0/24")
    assert "10.210.0.9-10.210.0.12" in dialog
    text(signed_in(user), f"/networks/{made.pk}", 404)


def test_a_network_s_page_makes_the_same_queries_for_few_and_many(admin: User, node: Node) -> None:
    client, network = signed_in(admin), ensure_default_network(node.cluster)
    counts = []
    for number in (2, 12):
        add_subnet(network, f"10.{200 + number}.0.0/24", f"10.{200 + number}.0.1", ranges=None)
        make_node(f"more{number}")
        for last in range(number * 10, number * 10 + 9):
            Address.objects.create(network=network, ip=f"10.77.0.{last}")
        with CaptureQueriesContext(connection) as queries:
            text(client, f"/networks/{network.pk}")
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 30, counts


def test_images_and_plans_are_read_by_everybody(user: User) -> None:
    sizes = {"sha256": "1" * 64, "size_bytes": 3 << 20, "virtual_bytes": 1 << 30}
    Image.objects.create(name="deb", title="Debian 12", os_family="linux", file_name="x", min_disk_gib=3, **sizes)
    Flavor.objects.create(name="start", title="Start", memory_mib=2048, vcpus=2, disk_gib=20)
    client = signed_in(user)
    assert all(told in text(client, "/images") for told in ("Debian 12", "3 MiB", "3 GiB", "64 MiB"))
    assert all(told in text(client, "/plans") for told in ("Start", "2 GiB", "20 GiB"))
    assert "Debian 12" not in text(client, "/images?search=rocky")


@pytest.mark.usefixtures("tasks")
def test_a_request_is_traced_by_its_id_as_far_as_one_may_see(admin: User, user: User) -> None:
    about = {"action": "vm.start", "object_type": "vm", "object_id": 7, "door": "api", "request_id": "req-17"}
    JournalEntry.objects.create(user_id=admin.pk, user_name="admin", object_name="shop-entry", **about)
    page = text(signed_in(admin), "/trace/req-17")
    assert "Start VM shop" in page and "shop-entry" in page and "VM mail" not in page
    theirs = text(signed_in(user), "/trace/req-17")
    assert "VM shop" not in theirs and "shop-entry" not in theirs
    task = Task.objects.get(object_name="shop")
    assert 'href="/trace/req-17"' in text(signed_in(admin), f"/tasks/{task.pk}")


def test_a_trace_has_the_commands_that_nodes_were_asked_for(
    api: APIClient, api_as_user: APIClient, admin: User, user: User, node: Node
) -> None:
    made = make_vm(node, user, "web1")
    fake.node(node.pk).domains[str(made.uuid)] = fake.FakeDomain(make_spec("local", uuid=str(made.uuid)), "running")
    refused = CommandFailed(node=node.name, command="host_pause", agent_code="no_space", text="No.")
    fake.node(node.pk).fail("host_pause", refused)
    task = registry.get("vm.pause").submit(user, {}, object_id=made.pk)
    Task.objects.filter(pk=task.pk).update(request_id="req-9")
    assert run_task(task).status == Status.FAILED

    [command] = [each for step in api.get(f"/api/v1/tasks/{task.pk}").json()["steps"] for each in step["commands"]]
    assert (command["node"], command["command"], command["outcome"]) == (node.name, "host_pause", "no_space")
    assert command["times"] == 1 and command["seconds"] >= 0
    theirs = api_as_user.get(f"/api/v1/tasks/{task.pk}").json()["steps"]
    assert [step["commands"] for step in theirs] == [[]] * len(theirs)
    page = text(signed_in(admin), "/trace/req-9")
    assert "Commands of nodes" in page and "<code>host_pause</code>" in page and "no_space" in page
    assert "Commands of nodes" not in text(signed_in(user), "/trace/req-9")


def test_health_tells_who_is_silent_and_what_was_found(admin: User, user: User, node: Node) -> None:
    client = signed_in(admin)
    assert {"examine", "configure"} <= buttons(text(client, "/health")).keys()
    NodeWatch.objects.create(node=node, heard_at=timezone.now())
    finding = {"code": "vm_missing", "object": "vm 7", "text": "There is no domain.", "node": "fake1", "mend": ""}
    _task(admin, "", operation="cluster.examine", object_type="cluster", result={"findings": [finding]})
    make_node("fake2")
    page = text(client, "/health")
    assert "There is no domain." in page and page.count('data-status="silent"') == 1
    assert not buttons(text(signed_in(User.objects.create_user("auditor", "x", level=Level.READONLY)), "/health"))
    text(signed_in(user), "/health", 404)


def test_plans_are_made_changed_and_deleted_by_who_may(admin: User, user: User) -> None:
    client, other = signed_in(admin), signed_in(user)
    values = {"name": "huge", "title": "Huge", "vcpus": 8, "memory_mib": 16384, "disk_gib": 200}
    assert post(other, "/plans/new", **values).status_code == 404 and "/plans/new" not in text(other, "/plans")
    for wrong in ({"name": "Huge Plan"}, {"memory_mib": 1}, {"disk_gib": ""}):
        answer = post(client, "/plans/new", **{**values, **wrong})
        assert (answer.status_code, b"is-invalid" in answer.content) == (422, True), wrong
    assert "/plans/new" in text(client, "/plans") and post(client, "/plans/new", **values).status_code == 204
    plan = Flavor.objects.get(name="huge")
    taken = post(client, "/plans/new", **values)
    assert (taken.status_code, b"is-invalid" in taken.content) == (422, True)
    for path in (f"/plans/{plan.pk}/change", f"/plans/{plan.pk}/delete"):
        assert post(other, path, **values).status_code == 404 and "Huge" in text(client, path)
    assert post(client, f"/plans/{plan.pk}/change", **{**values, "vcpus": 16}).status_code == 204
    assert Flavor.objects.get().vcpus == 16
    assert post(client, f"/plans/{plan.pk}/delete").status_code == 204 and not Flavor.objects.exists()


def test_an_image_is_called_otherwise_and_wants_more(admin: User, user: User, api: APIClient) -> None:
    sizes = {"sha256": "1" * 64, "size_bytes": 3 << 20, "virtual_bytes": 3 << 30}
    image = Image.objects.create(name="deb", title="Debian", os_family="linux", file_name="x", min_disk_gib=3, **sizes)
    client, path = signed_in(admin), f"/images/{image.pk}/change"
    values = {"title": "Debian 12", "min_memory_mib": 512, "min_disk_gib": 5}
    assert post(signed_in(user), path, **values).status_code == 404
    small = post(client, path, **{**values, "min_disk_gib": 2})
    assert (small.status_code, "3 GiB" in small.content.decode()) == (422, True)
    assert path in text(client, "/images") and post(client, path, **values).status_code == 204
    image.refresh_from_db()
    assert (image.title, image.min_memory_mib, image.min_disk_gib, image.sha256) == ("Debian 12", 512, 5, "1" * 64)
    assert JournalEntry.objects.get(action="image.change").after == values
    refused = api.patch(f"/api/v1/images/{image.pk}", {"sha256": "2" * 64}, format="json")
    assert (refused.status_code, refused.json()["field"]) == (400, "sha256")
    assert api.patch(f"/api/v1/images/{image.pk}", {"title": "D"}, format="json").json()["title"] == "D"


def test_flavors_are_made_changed_and_deleted_by_rest(api: APIClient) -> None:
    values = {"name": "huge", "vcpus": 8, "memory_mib": 16384, "disk_gib": 200}
    made = api.post("/api/v1/flavors", values, format="json")
    assert (made.status_code, made.json()["title"]) == (201, "huge")
    at = made.headers["Location"]
    assert api.post("/api/v1/flavors", values, format="json").json()["field"] == "name"
    assert api.patch(at, {"vcpus": 0}, format="json").json()["field"] == "vcpus"
    assert api.patch(at, {"vcpus": 4}, format="json").json() == {
        **values,
        "id": made.json()["id"],
        "title": "huge",
        "vcpus": 4,
    }
    assert api.delete(at).status_code == 204 and api.get(at).status_code == 404


def test_usage_of_a_month_is_shown_and_exported(vm: Vm, admin: User, user: User) -> None:
    size = {"vcpus": 2, "memory_mib": 1024, "disk_gib": 10, "addresses": 1, "suspended": False, "exists": True}
    at = timezone.now() - timedelta(hours=2)
    Entry.objects.create(vm_id=vm.pk, uuid=vm.uuid, sequence=1, at=at, name="shop", owner_id=user.pk, **size)
    month = f"{timezone.now() - timedelta(hours=1):%Y-%m}"
    stranger = User.objects.create_user("boris", "x")
    for viewer, sees in ((admin, True), (user, True), (stranger, False)):
        page = text(signed_in(viewer), f"/usage?month={month}")
        assert (f'data-vm="{vm.pk}"' in page) is sees, viewer
    assert 'data-vm="' not in text(signed_in(admin), "/usage?owner=boris")
    assert "alert-warning" in text(signed_in(admin), "/usage?owner=nobody")
    lines = text(signed_in(user), f"/usage?month={month}&format=csv").splitlines()
    told = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert (told["name"], len(lines)) == ("shop", 2) and 0.9 < float(told["hours"]) < 2.2
    assert float(told["memory_gib_hours"]) == pytest.approx(float(told["hours"]))
    assert "alert-warning" in text(signed_in(user), "/usage?month=2099-01")


def test_the_whole_journal_is_a_click_away(admin: User) -> None:
    assert 'href="/api/v1/journal/export"' in text(signed_in(admin), "/journal")
