"""Who may not see nodes is told no node's name or address, by whatever door; who may is told them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from rest_framework.test import APIClient

from panel.accounts.models import Role, User
from panel.accounts.tokens import create_token
from panel.cluster import fake
from panel.cluster.models import Node
from panel.cluster.redaction import Redaction
from panel.core import live
from panel.core.errors import CommandFailed
from panel.core.redis_client import client as redis_client
from panel.core.wording import Text
from panel.images.models import Image
from panel.tasks import logbook
from panel.tasks.models import Task, TaskStep
from panel.vms.models import Cause, StatusChange, Vm, VmStatus
from panel.webhooks.collecting import collect
from panel.webhooks.models import Delivery
from tests.contract.local_agent import until
from tests.db.conftest import make_node
from tests.db.mgrapi.classic import error_of
from tests.db.web.test_pages import signed_in

NAMES = ("rack7", "rack8")
ORDER = {"name": "web1", "image": "small", "flavor": "tiny", "password": "correct horse battery"}


@pytest.fixture
def nodes() -> list[Node]:
    """Two nodes with names that stand nowhere else."""
    return [make_node(name) for name in NAMES]


@pytest.fixture(autouse=True)
def nothing_told() -> Iterator[None]:
    """The stream of events is empty."""
    redis_client().delete(live.STREAM)
    yield
    redis_client().delete(live.STREAM)


@pytest.fixture
def vm(
    nodes: list[Node], image: Image, api_as_user: APIClient, api: APIClient, admin: User, run_tasks: Callable[[], None]
) -> Vm:
    """The customer's VM: made, moved by an administrator, and then not reached."""
    hook = {"url": "https://billing.example/hook", "events": ["*"]}
    assert api_as_user.post("/api/v1/webhooks", hook).status_code == 201
    live.publish("node", {"id": 0})
    collect()
    made = api_as_user.post("/api/v1/vms", ORDER)
    assert made.status_code == 202, made.json()
    assert hides(made.content) and "node" not in made.json()
    run_tasks()
    vm = Vm.objects.get(pk=made.json()["vm"])
    target = next(name for name in NAMES if name != vm.node.name)
    assert api.post(f"/api/v1/vms/{vm.pk}/migrate", {"node": target}).status_code == 202
    run_tasks()
    vm.refresh_from_db()
    assert vm.node.name == target
    text = f"{target}.invalid: no"
    refusal = CommandFailed(node=target, command="host_shutdown", agent_code="failed", text=text)
    fake.node(vm.node_id).fail("host_shutdown", refusal, times=9)
    StatusChange.objects.create(vm=vm, status=VmStatus.RUNNING, at=vm.created_at, node=vm.node, cause=Cause.OUTSIDE)
    return vm


def hides(content: bytes | str) -> bool:
    """Whether no node is named."""
    text = content.decode() if isinstance(content, bytes) else content
    return not any(name in text for name in NAMES)


def everything(vm: Vm) -> list[str]:
    """The addresses of all that a customer may read of the VM by REST."""
    tasks = list(Task.objects.filter(object_id=vm.pk).values_list("pk", flat=True))
    about = [f"vms/{vm.pk}{part}" for part in ("", "/history", "/snapshots", "/usage", "/traffic")]
    each = [path for pk in tasks for path in (f"tasks/{pk}", f"tasks/{pk}/log")]
    return ["vms", "tasks", "journal", "journal/export", "webhooks/1/deliveries", "usage", *about, *each]


def read(api: APIClient, path: str) -> str:
    """What an address answers."""
    answer: Any = api.get(f"/api/v1/{path}")
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return str(content.decode())


def test_a_customer_reads_no_node_s_name_by_rest(
    api: APIClient, api_as_user: APIClient, vm: Vm, run_tasks: Callable[[], None]
) -> None:
    webhook = api_as_user.get("/api/v1/webhooks").json()["results"][0]["id"]
    api_as_user.post(f"/api/v1/vms/{vm.pk}/stop")
    run_tasks()
    collect()
    named = 0
    for path in everything(vm):
        path = path.replace("webhooks/1/", f"webhooks/{webhook}/")
        text = read(api_as_user, path)
        assert hides(text), (path, text)
        named += not hides(read(api, path))
    # It was there to be hidden: in lists, history, titles, errors and logs.
    assert named >= 7
    assert api_as_user.get(f"/api/v1/vms/{vm.pk}").json()["node"] is None
    assert api.get(f"/api/v1/vms/{vm.pk}").json()["node"] == vm.node.name
    assert Delivery.objects.filter(data__icontains="a node").exists()
    assert Task.objects.filter(operation="vm.migrate", title__endswith=vm.node.name).exists()


def test_a_customer_is_not_told_by_what_is_refused_either(
    api: APIClient, api_as_user: APIClient, image: Image, nodes: list[Node]
) -> None:
    large = {**ORDER, "memory_mib": 4 * 1024 * 1024}
    refused = api_as_user.post("/api/v1/vms", large)
    assert (refused.status_code, refused.json()["code"]) == (409, "no_capacity")
    assert hides(refused.content) and "MiB" not in refused.json()["detail"]
    assert not hides(api.post("/api/v1/vms", large).content)
    # Whether there is such a node is not told.
    answers = [api_as_user.post("/api/v1/vms", {**ORDER, "node": name}) for name in ("rack7", "rack9")]
    assert [(each.status_code, each.json()["field"]) for each in answers] == [(404, "node")] * 2
    assert api_as_user.get("/api/v1/vms?node=rack7").json()["permission"] == "cluster.view"
    assert hides(api_as_user.post("/api/v1/vms?plan=1", ORDER).content)


@pytest.mark.parametrize("name", ["disk", "rescue", "web1", "anna", "a"])
def test_what_is_ours_stays_whatever_nodes_are_called(api_as_user: APIClient, user: User, name: str) -> None:
    make_node(name)
    title = Text("Give VM {vm} to {owner}", {"vm": "web1", "owner": "anna"})
    task = Task.objects.create(operation="vm.x", title=title.english, title_said=title.as_dict(), owner=user)
    TaskStep.objects.create(
        task=task, position=0, name="x", title="Grow the disk", progress_text="waiting for the guest"
    )
    logbook.write(task.pk, "Boot from the rescue system")
    logbook.write(task.pk, Text("{other_node} said: {text}", {"other_node": name, "text": f"no route to {name}"}))
    answer = api_as_user.get(f"/api/v1/tasks/{task.pk}").json()
    [step] = answer["steps"]
    said = (answer["title"], step["title"], step["progress_text"])
    assert said == ("Give VM web1 to anna", "Grow the disk", "waiting for the guest")
    lines = [each["text"] for each in api_as_user.get(f"/api/v1/tasks/{task.pk}/log").json()]
    assert lines == ["Boot from the rescue system", "a node said: no route to a node"]


def test_a_group_s_answers_name_no_node(api: APIClient, api_as_user: APIClient, vm: Vm, admin: User) -> None:
    Vm.objects.filter(pk=vm.pk).update(status=VmStatus.SHUT_OFF)
    body = {"ids": [vm.pk], "params": {"memory_mib": 4 * 1024 * 1024}}
    assert not hides(api.post("/api/v1/vms/group/configure", body, format="json").content)
    role = Role.objects.create(name="sizes", level="user", rights=["vms.configure"])
    User.objects.filter(pk=vm.owner_id).update(role=role)
    customer = APIClient()
    customer.force_authenticate(User.objects.get(pk=vm.owner_id))
    answer = customer.post("/api/v1/vms/group/configure", body, format="json")
    assert answer.json()["results"][0]["error"]["code"] == "no_capacity"
    assert hides(answer.content)


def test_a_customer_reads_no_node_s_name_by_the_classic_api(
    vm: Vm, user: User, admin: User, api_as_user: APIClient, run_tasks: Callable[[], None]
) -> None:
    api_as_user.post(f"/api/v1/vms/{vm.pk}/stop")
    run_tasks()
    tokens = {who.pk: create_token(who, "classic")[1] for who in (user, admin)}

    def said(who: User, **params: str) -> str:
        headers = {"Authorization": f"Bearer {tokens[who.pk]}"}
        answer = Client(headers=headers).post("/vmmgr", {"out": "xml", **params}, secure=True)
        return str(answer.content.decode())

    for params in (
        {"func": "vm"},
        {"func": "task"},
        {"func": "vm.sysinfo", "elid": str(vm.pk)},
        {"func": "vm.edit", "elid": str(vm.pk)},
    ):
        assert hides(said(user, **params)), params
        assert not hides(said(admin, **params)), params
    large = {"func": "vm.edit", "sok": "ok", "name": "web2", "vmi": "small", "preset": "tiny", "mem": "4000000"}
    refused = said(user, **large, passwd="correct horse battery")
    assert error_of(refused)[0] == "limit" and hides(refused)
    # A guess is answered the same, right or wrong.
    guesses = [said(user, func="vm.edit", sok="ok", elid=str(vm.pk), hostnode=name) for name in (vm.node.name, "rack9")]
    assert guesses[0] == guesses[1].replace("rack9", vm.node.name)


def test_a_customer_s_pages_name_no_node(
    vm: Vm, user: User, admin: User, api_as_user: APIClient, run_tasks: Callable[[], None]
) -> None:
    api_as_user.post(f"/api/v1/vms/{vm.pk}/stop")
    run_tasks()
    tasks = [f"/tasks/{pk}" for pk in Task.objects.filter(object_id=vm.pk).values_list("pk", flat=True)]
    theirs, all_of_it = signed_in(user), signed_in(admin)
    named = 0
    for path in ("/", "/vms", f"/vms/{vm.pk}", f"/vms/{vm.pk}/devices", "/tasks", "/journal", *tasks):
        text = theirs.get(path, secure=True).content.decode()
        assert hides(text), (path, text)
        named += not hides(all_of_it.get(path, secure=True).content)
    assert named >= 6


def test_a_vm_that_is_called_as_a_node_is_told_by_its_name(
    nodes: list[Node], image: Image, api: APIClient, api_as_user: APIClient, run_tasks: Callable[[], None]
) -> None:
    hook = {"url": "https://billing.example/hook", "events": ["task.*"]}
    assert api_as_user.post("/api/v1/webhooks", hook).status_code == 201
    live.publish("node", {"id": 0})
    collect()
    vm = api_as_user.post("/api/v1/vms", {**ORDER, "name": "rack7"}).json()["vm"]
    run_tasks()
    target = next(name for name in NAMES if name != Vm.objects.get(pk=vm).node.name)
    asked: list[tuple[APIClient, str, dict[str, str]]] = [
        (api_as_user, "force-off", {}),
        (api_as_user, "rename", {"name": "rack8"}),
        (api, "migrate", {"node": target}),
    ]
    for client, verb, body in asked:
        answer = client.post(f"/api/v1/vms/{vm}/{verb}", body)
        assert answer.status_code == 202, answer.json()
        run_tasks()
    collect()
    titles = {
        "Create VM rack7",
        "Force off VM rack7",
        "Rename VM rack7 to rack8",
        "Migrate VM rack8 to a node",
    }
    assert {each["title"] for each in api_as_user.get("/api/v1/tasks").json()["results"]} == titles
    assert set(Delivery.objects.values_list("data__title", flat=True)) == titles
    # The stream itself is what nobody reads but through a redaction.
    assert f"Migrate VM rack8 to {target}".encode() in str(redis_client().xrange(live.STREAM)).encode()
    renamed = api_as_user.get("/api/v1/journal?action=vm.rename").json()["results"][0]
    assert renamed["after"]["name"] == "rack8"
    Node.objects.filter(name=target).update(name="rack9")
    assert {each["title"] for each in api_as_user.get("/api/v1/tasks").json()["results"]} == titles


def _text(part: str | bytes) -> str:
    return part if isinstance(part, str) else part.decode()


@pytest.mark.parametrize("path", ["/api/v1/events", "/events"])
def test_a_customer_s_events_name_no_node(user: User, nodes: list[Node], path: str) -> None:
    def tell() -> None:
        if path == "/events":
            # Redis takes the subscription in while the page is greeted.
            until(lambda: redis_client().pubsub_numsub(live.CHANNEL)[0][1] > 0)
        task = {"id": 7, "owner": user.pk, "status": "running", "title": "Migrate VM web1 to rack8"}
        live.publish("task", {**task, "step": {"position": 1, "text": "to rack8.invalid"}})
        make_node("rack9")
        live.publish("node", {"id": 9, "state": "ready"})
        live.publish("task", {**task, "id": 8, "title": "Migrate VM web1 to rack9"})

    client = AsyncClient()
    client.force_login(user)

    async def listen() -> str:
        response: Any = await client.get(path, secure=True)
        assert isinstance(response, StreamingHttpResponse)
        stream = response.streaming_content.__aiter__()  # type: ignore[union-attr]
        told = [_text(await anext(stream))]
        await sync_to_async(tell)()
        while "".join(told).count("event: task") < 2 and len(told) < 20:
            told.append(_text(await anext(stream)))
        await stream.aclose()
        return "".join(told)

    text = async_to_sync(listen)()
    assert "Migrate VM web1 to a node" in text and hides(text) and "rack9" not in text


def test_only_whole_names_are_hidden(nodes: list[Node], user: User, admin: User) -> None:
    redaction = Redaction(user)
    assert redaction.text("“rack7” and rack8.invalid: away") == "a node and a node: away"
    assert redaction.text("The node “gone” cannot be reached") == "The node cannot be reached"
    assert redaction.text("VM rack77 of my-rack7.example") == "VM rack77 of my-rack7.example"
    assert redaction.text("The worker host1:77 was lost at step “x”; taken over by host2:8.") == (
        "The worker was lost at step “x”; taken over by another."
    )
    assert Redaction(admin).text("“rack7”") == "“rack7”"


def test_names_are_hidden_where_nodes_are_meant_alone(nodes: list[Node], user: User) -> None:
    redaction = Redaction(user)
    for told in (
        "Rename VM rack7 to rack8",
        "Clone VM rack7 to rack8",
        "Give VM rack7 to rack8",
        "Give VM web1 to rack8@example.org",
        "Start VM rack7 with its node",
        "Add a disk: VM rack7",
        "Gives way to task 3 (Rename VM rack7 to rack8).",
        "Take snapshot “rack7” of VM rack8",
        "Import domain rack7",
    ):
        assert redaction.text(told) == told
    assert (
        redaction.text("VM “rack7” is active on “rack7” and on “rack8”")
        == "VM “rack7” is active on a node and on a node"
    )
    assert (
        redaction.text("No node can take this VM: rack7: 3 MiB free") == "No node can take this VM: a node: 3 MiB free"
    )
    assert redaction.text("Migrate VM rack7 to gone1") == "Migrate VM rack7 to a node"
    assert redaction.text("The VM on rack7 and the VM rack7.invalid") == "The VM on a node and the VM a node"
    assert redaction.data({"name": "rack7", "text": "rack7", "node": "rack7"}) == {"name": "rack7", "text": "a node"}
