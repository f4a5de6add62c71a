"""Who may call what: every route of the REST API, as everybody. A route that is not in the tables here fails.

Callers: nobody, another customer (on objects that are not theirs), the customer, a read-only administrator, an
administrator, the super administrator with a token that gives no right, and with an expired token. Outcomes:

    S  let in: it answers, or refuses for another reason than who asks
    E  let in, and another's objects are not in the list
    D  the right is missing (403)
    A  absent (404), as if there were no such object
    N  not signed in (401)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.urls import URLPattern
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import BrowserSession, Level, Role, SecurityKey, SshKey, Token, User
from panel.accounts.tokens import create_token
from panel.api.models import Batch
from panel.api.urls import urlpatterns
from panel.cluster.models import Node
from panel.core import permissions
from panel.dns.models import DnsServer
from panel.images.models import Flavor, Image, Iso
from panel.network.models import Address, Network, SecurityGroup
from panel.notices.services import open_problem
from panel.tasks import registry
from panel.tasks.models import Task
from panel.vms.models import Snapshot, Vm
from panel.vms.usage import note_shape
from panel.webhooks.models import Delivery, Webhook
from tests.db.monitoring.messages import make_vm

CALLERS = ("nobody", "another", "customer", "reader", "administrator", "narrowed", "expired")

# fmt: off
ROUTES = {
    # route                               nobody, another, customer, reader, administrator, narrowed, expired
    "POST auth/token":                    "SSSSSSS",
    "GET me":                             "NSSSSSN",
    "GET me/limits":                      "NSSSSSN",
    "POST me/password":                   "NSSSSDN",
    "GET me/sessions":                    "NSSSSDN",
    "DELETE me/sessions":                 "NSSSSDN",
    "DELETE me/sessions/{session}":       "NASAADN",
    "GET me/totp":                        "NSSSSDN",
    "POST me/totp":                       "NSSSSDN",
    "POST me/totp/confirm":               "NSSSSDN",
    "POST me/totp/off":                   "NSSSSDN",
    "GET me/security-keys":               "NSSSSDN",
    "POST me/security-keys":              "NDDDDDN",
    "POST me/security-keys/challenge":    "NDDDDDN",
    "POST me/security-keys/{security_key}/remove": "NASAADN",
    "POST users/{user}/reset-totp":       "NADDDAN",
    "GET vmwatch":                        "NDDSSDN",
    "GET vmwatch/nodes":                  "NDDSSDN",
    "GET users/{user}/limits":            "NASSSAN",
    "GET users/{user}/sessions":          "NASDDAN",
    "DELETE users/{user}/sessions":       "NASDDAN",
    "GET tokens":                         "NESEEDN",
    "POST tokens":                        "NSSSSSN",
    "DELETE tokens/{token}":              "NASAAAN",
    "GET ssh-keys":                       "NESEEDN",
    "POST ssh-keys":                      "NSSSSDN",
    "DELETE ssh-keys/{ssh_key}":          "NASAAAN",
    "GET users":                          "NESSSEN",
    "POST users":                         "NDDDDDN",
    "GET users/{user}":                   "NASSSAN",
    "PATCH users/{user}":                 "NASDDAN",
    "DELETE users/{user}":                "NADDDAN",
    "POST users/{user}/enable":           "NADDDAN",
    "POST users/{user}/disable":          "NADDDAN",
    "POST users/{user}/signin-key":       "NADDSAN",
    "GET roles":                          "NDDSSDN",
    "POST roles":                         "NDDDDDN",
    "GET roles/{role}":                   "NDDSSDN",
    "PUT roles/{role}":                   "NDDDDDN",
    "DELETE roles/{role}":                "NDDDDDN",
    "GET rights":                         "NSSSSSN",
    "GET journal":                        "NSSSSDN",
    "GET journal/export":                 "NSSSSDN",
    "GET vms":                            "NESSSDN",
    "GET vms/{vm}":                       "NASSSDN",
    "DELETE vms/{vm}":                    "NASDSDN",
    "POST vms":                           "NSSDSDN",
    "GET vms/{vm}/history":               "NASSSDN",
    "GET vms/{vm}/snapshots":             "NASSSDN",
    "GET vms/{vm}/statistics":            "NASSSDN",
    "GET vms/{vm}/traffic":               "NASSSDN",
    "GET vms/{vm}/usage":                 "NASSSDN",
    "GET usage":                          "NSSSSDN",
    "GET vms/{vm}/drift":                 "NDDSSDN",
    "GET nodes/{node}/foreign":           "NAASSAN",
    "GET nodes/{node}/interfaces":        "NAASSAN",
    "GET nodes/{node}/statistics":        "NAASSAN",
    "GET cluster":                        "NDDSSDN",
    "PATCH cluster":                      "NDDDSDN",
    "GET nodes":                          "NDDSSDN",
    "POST nodes":                         "NDDDSDN",
    "GET nodes/{node}":                   "NAASSAN",
    "PATCH nodes/{node}":                 "NDDDSDN",
    "DELETE nodes/{node}":                "NDDDSDN",
    "GET tasks":                          "NESSSDN",
    "GET tasks/{task}":                   "NASSSDN",
    "GET tasks/{task}/log":               "NASSSDN",
    "POST tasks/{task}/cancel":           "NASDSDN",
    "POST tasks/{task}/retry-undo":       "NADDSDN",
    "POST tasks/{task}/give-up":          "NADDSDN",
    "GET images":                         "NSSSSSN",
    "GET images/{image}":                 "NSSSSSN",
    "PATCH images/{image}":               "NDDDSDN",
    "GET isos":                           "NESSSSN",
    "POST isos":                          "NSSDSDN",
    "GET isos/{iso}":                     "NASSSSN",
    "PATCH isos/{iso}":                   "NASDSDN",
    "DELETE isos/{iso}":                  "NASDSDN",
    "GET flavors":                        "NSSSSSN",
    "POST flavors":                       "NDDDSDN",
    "GET flavors/{flavor}":               "NSSSSSN",
    "PATCH flavors/{flavor}":             "NDDDSDN",
    "DELETE flavors/{flavor}":            "NDDDSDN",
    "GET networks":                       "NSSSSSN",
    "POST networks":                      "NDDDSDN",
    "GET networks/{network}":             "NSSSSSN",
    "DELETE networks/{network}":          "NDDDSDN",
    "GET security-groups":                "NESSSDN",
    "POST security-groups":               "NSSDSDN",
    "GET security-groups/{security_group}": "NASSSDN",
    "DELETE security-groups/{security_group}": "NASDSDN",
    "GET network-kinds":                  "NDDSSDN",
    "GET dns-servers":                    "NDDSSDN",
    "POST dns-servers":                   "NDDDSDN",
    "GET dns-servers/{dns-server}":       "NAASSAN",
    "DELETE dns-servers/{dns-server}":    "NDDDSDN",
    "GET dns-servers/{dns-server}/records": "NAASSAN",
    "GET ipam/addresses":                 "NSSSSDN",
    "POST ipam/addresses":                "NDDDSDN",
    "GET ipam/addresses/{address}":       "NASSSDN",
    "DELETE ipam/addresses/{address}":    "NADDSDN",
    "GET ipam/history":                   "NSSSSDN",
    "GET pools":                          "NEESSEN",
    "POST pools":                         "NDDDSDN",
    "GET pools/{pool}":                   "NAASSAN",
    "PATCH pools/{pool}":                 "NDDDSDN",
    "GET storage-kinds":                  "NDDSSDN",
    "GET problems":                       "NEESSEN",
    "GET problems/{problem}":             "NAASSAN",
    "POST problems/{problem}/acknowledge": "NAADSAN",
    "POST problems/{problem}/unacknowledge": "NAADSAN",
    "GET options":                        "NDDDDDN",
    "GET operations":                     "NSSSSSN",
    "POST batch":                         "NSSSSSN",
    "GET batch/{batch}":                  "NASAAAN",
    "GET webhooks":                       "NESEEEN",
    "POST webhooks":                      "NSSSSSN",
    "GET webhooks/{webhook}":             "NASAAAN",
    "PATCH webhooks/{webhook}":           "NASAAAN",
    "DELETE webhooks/{webhook}":          "NASAAAN",
    "GET webhooks/{webhook}/deliveries":  "NASAAAN",
    "POST webhooks/{webhook}/deliveries/{delivery}/send": "NASAAAN",
    "GET schema":                         "SSSSSSN",
}

# Which right each operation needs; its route and its group's route follow.
OPERATIONS = {
    "cluster.examine": "cluster.manage",
    "dns-server.add": "cluster.manage",
    "dns-server.change": "cluster.manage",
    "dns-server.compare": "cluster.manage",
    "dns-server.remove": "cluster.manage",
    "network.add": "cluster.manage",
    "network.add-subnet": "cluster.manage",
    "network.change": "cluster.manage",
    "network.change-address": "cluster.manage",
    "network.change-range": "cluster.manage",
    "network.change-subnet": "cluster.manage",
    "network.import-addresses": "cluster.manage",
    "network.release-address": "cluster.manage",
    "network.remove": "cluster.manage",
    "network.remove-subnet": "cluster.manage",
    "cluster.read-host-key": "cluster.manage",
    "network.reserve-address": "cluster.manage",
    "security-group.add": "vms.devices",
    "security-group.apply": "vms.devices",
    "security-group.change": "vms.devices",
    "security-group.remove": "vms.devices",
    "vm.set-security-groups": "vms.devices",
    "vm.add-port-forward": "vms.devices",
    "vm.remove-port-forward": "vms.devices",
    "node.accept-storage": "cluster.manage",
    "node.add-link": "cluster.manage",
    "node.remove-link": "cluster.manage",
    "node.add": "cluster.manage",
    "node.check": "cluster.manage",
    "node.end-maintenance": "cluster.manage",
    "node.evacuate": "cluster.manage",
    "node.forget": "cluster.manage",
    "node.maintain": "cluster.manage",
    "node.reconnect": "cluster.manage",
    "node.remove": "cluster.manage",
    "node.restart-service": "cluster.manage",
    "vm.add-address": "vms.devices",
    "vm.add-disk": "vms.devices",
    "vm.add-interface": "vms.devices",
    "vm.adopt": "vms.configure",
    "vm.adopt-snapshot": "vms.snapshot",
    "vm.autostart": "vms.power",
    "vm.change-disk": "vms.devices",
    "vm.change-interface": "vms.devices",
    "vm.change-owner": "vms.assign",
    "vm.clone": "vms.create",
    "vm.configure": "vms.configure",
    "vm.configure-guest": "vms.change",
    "vm.create": "vms.create",
    "vm.delete": "vms.delete",
    "vm.delete-snapshot": "vms.snapshot",
    "vm.discard-saved": "vms.power",
    "vm.eject-iso": "vms.devices",
    "vm.end-rescue": "vms.rescue",
    "vm.finish-install": "vms.power",
    "vm.force-off": "vms.power",
    "vm.forget-snapshot": "vms.snapshot",
    "vm.grow-disk": "vms.devices",
    "vm.keep-off": "vms.suspend",
    "vm.migrate": "cluster.manage",
    "vm.mount-iso": "vms.devices",
    "vm.pause": "vms.power",
    "vm.reinstall": "vms.reinstall",
    "vm.remove-address": "vms.devices",
    "vm.remove-disk": "vms.devices",
    "vm.remove-interface": "vms.devices",
    "vm.rename": "vms.change",
    "vm.repair": "vms.configure",
    "vm.rescue": "vms.rescue",
    "vm.reset": "vms.power",
    "vm.restart": "vms.power",
    "vm.resume": "vms.power",
    "vm.revert-snapshot": "vms.snapshot",
    "vm.set-reverse-name": "vms.change",
    "vm.settle": "cluster.manage",
    "vm.snapshot": "vms.snapshot",
    "vm.start": "vms.power",
    "vm.stop": "vms.power",
    "vm.suspend": "vms.suspend",
    "vm.take-over": "cluster.manage",
    "vm.unsuspend": "vms.suspend",
    "vmwatch.configure": "cluster.manage",
}
# fmt: on

NO_VIEW = {"docs", "events"}
"""Routes with tests of their own: a page (tests/db/web), and the stream (test_events.py)."""
FIELDS = {
    "size_gib": 2,
    "to_port": 22,
    "port": 10000,
    "disk": "vda",
    "interface": "52:54:00:00:00:01",
    "owner": "reader",
    "name": "other-name",
    "address": "192.0.2.1",
    "snapshot": 1,
    "pool": 1,
    "iso": "none",
    "domain": "00000000-0000-0000-0000-000000000000",
    "image": "small",
    "cidr": "10.203.0.0/24",
    "subnet": "10.77.0.0/24",
    "service": "libvirtd",
    "kind": "vlan",
    "link": "bond9",
    "url": "http://127.0.0.1:8081",
    "api_key": "secret",
    "ranges": ["192.0.2.0/24"],
}
"""A value for each parameter that an operation requires, so that a call gets as far as its object."""
BODIES: dict[str, dict[str, Any]] = {
    "POST tokens": {"name": "t"},
    "POST ssh-keys": {"name": "k", "public_key": "ssh-ed25519 AAAA"},
    "POST auth/token": {"name": "reader", "password": "correct horse"},
    "POST users": {"name": "new", "password": "correct horse", "level": "user"},
    "POST me/password": {"current": "guess", "password": "battery staple"},
    "POST me/security-keys": {"name": "k", "credential": {}},
    "POST me/security-keys/{security_key}/remove": {"password": "guess"},
    "POST me/totp/confirm": {"code": "000000"},
    "POST me/totp/off": {"code": "000000", "password": "guess"},
    "PATCH users/{user}": {"email": "new@example.org"},
    "POST roles": {"name": "new", "level": "user", "rights": []},
    "PUT roles/{role}": {"name": "changed", "level": "user", "rights": []},
    "PATCH cluster": {"check_vm_status": True},
    "PATCH isos/{iso}": {"title": "Another title"},
    "PATCH nodes/{node}": {"max_vms": 3},
    "POST pools": {"name": "nfs", "path": "/srv/nfs/pool"},
    "PATCH pools/{pool}": {"shared": True},
    "POST vms": {"name": "new", "image": "small", "flavor": "small"},
    "POST batch": {"calls": [{"method": "GET", "path": "/api/v1/me"}]},
    "POST webhooks": {"url": "https://billing.example/hook"},
    "PATCH webhooks/{webhook}": {"active": False},
    "POST nodes": {"name": "new", "address": "192.0.2.1"},
    "POST dns-servers": {"name": "new", "url": "http://127.0.0.1:1", "api_key": "k", "ranges": ["192.0.2.0/24"]},
    "POST security-groups": {"name": "new", "rules": ["in tcp 22"]},
    "POST security-groups/{security_group}/change": {"name": "new"},
    "POST networks": {"name": "new", "subnet": "10.204.0.0/24"},
    "POST networks/{network}/change": {"name": "new"},
    "POST networks/{network}/change-range": {"range": "10.77.0.10-10.77.0.254", "choice": "lowest"},
    "POST networks/{network}/change-address": {"address": "10.77.0.10", "comment": ""},
    "POST networks/{network}/import-addresses": {"lines": ["10.77.0.9"]},
    "POST networks/{network}/change-subnet": {"subnet": "10.77.0.0/24", "nameservers": []},
}


@dataclass
class World:
    """The callers, and the ids of the customer's objects that a route may name."""

    clients: dict[str, APIClient]
    ids: dict[str, int | str]


def signed_in(text: str) -> APIClient:
    """A client that calls with a token."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


@pytest.fixture
def world(node: Node, image: Image) -> World:
    """One object of each kind, the customer's where it is anybody's; and everybody who calls."""
    levels = {"another": Level.USER, "customer": Level.USER, "reader": Level.READONLY, "administrator": Level.ADMIN}
    users = {name: User.objects.create_user(name, "correct horse", level=level) for name, level in levels.items()}
    root = User.objects.create_user("root", "correct horse", level=Level.SUPER)
    texts = {name: create_token(user, "test")[1] for name, user in users.items()}
    texts["narrowed"] = create_token(root, "narrow", rights=[])[1]
    expired, texts["expired"] = create_token(root, "old")
    Token.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    customer = users["customer"]
    vm = make_vm(node, customer, "theirs")
    task = Task.objects.create(operation="vm.start", title="t", owner=customer, object_type="vm", object_id=vm.pk)
    webhook = Webhook.objects.create(owner=customer, url="https://billing.example/", events=["*"], sealed=b"x")
    session = BrowserSession.objects.create(id="a" * 64, user=customer, expires_at=timezone.now() + timedelta(days=1))
    ids: dict[str, int | str] = {
        "session": session.pk,
        "vm": vm.pk,
        "node": node.pk,
        "pool": vm.pool_id,
        "network": Network.objects.latest("pk").pk,
        "address": Address.objects.create(
            network=Network.objects.latest("pk"), ip="10.77.0.99", reserved=True, owner=customer
        ).pk,
        "dns-server": DnsServer.objects.create(name="ns1", sealed=b"x", compare_at=timezone.now()).pk,
        "security_group": SecurityGroup.objects.create(owner=customer, name="theirs").pk,
        "task": task.pk,
        "user": customer.pk,
        "role": Role.objects.create(name="role", level=Level.USER, rights=[]).pk,
        "token": Token.objects.create(user=customer, name="spare", digest="x").pk,
        "ssh_key": SshKey.objects.create(user=customer, name="k", public_key="ssh-ed25519 AAAA").pk,
        "security_key": SecurityKey.objects.create(
            user=customer, name="k", credential_id=b"k", digest="k", public_key=b"k"
        ).pk,
        "webhook": webhook.pk,
        "batch": Batch.objects.create(user=customer).pk,
        "iso": Iso.objects.create(owner=customer, name="theirs", file_name="isos/none.iso", size_bytes=1).pk,
        "image": image.pk,
        "flavor": Flavor.objects.create(name="own", title="Own", memory_mib=64, vcpus=1, disk_gib=1).pk,
        "problem": open_problem("k", "It broke.").pk,
        "delivery": Delivery.objects.create(webhook=webhook, key="k", event="task.done", data={}).pk,
    }
    Snapshot.objects.create(vm=vm, name="first")
    with transaction.atomic():
        note_shape(vm.pk)
    return World({"nobody": APIClient(), **{name: signed_in(text) for name, text in texts.items()}}, ids)


KINDS = {"vms": "vm", "nodes": "node", "tasks": "task", "pools": "pool", "users": "user", "roles": "role",
         "tokens": "token", "ssh-keys": "ssh_key", "webhooks": "webhook",
         "batch": "batch", "isos": "iso", "networks": "network", "problems": "problem", "images": "image",
         "flavors": "flavor", "dns-servers": "dns-server", "ipam": "address",
         "security-groups": "security_group"}  # fmt: skip


def routes() -> Iterator[str]:
    """Every route of the API, as `METHOD path`."""
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        path = str(pattern.pattern)
        view = getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls", None)
        if view is None:
            assert path in NO_VIEW, f"{path} is no view of the API, and has no test of its own"
            continue
        path = path.replace("<int:delivery_id>", "{delivery}").replace("<str:session_id>", "{session}")
        path = path.replace("me/security-keys/<int:object_id>", "me/security-keys/{security_key}")
        path = path.replace("<int:object_id>", f"{{{KINDS.get(path.partition('/')[0], '')}}}")
        for method in ("get", "post", "put", "patch", "delete"):
            if hasattr(view, method):
                yield f"{method.upper()} {path}"


PLACES = {
    "vm": "vms/{vm}", "node": "nodes/{node}", "network": "networks/{network}",
    "dns-server": "dns-servers/{dns-server}", "security-group": "security-groups/{security_group}",
}  # fmt: skip
ELSEWHERE = {"vm.take-over": "nodes/{node}/take-over"}
"""Operations whose route names an object of another kind."""


def of_operations() -> dict[str, tuple[str, bool]]:
    """The routes of operations: the right that each needs, and whether it is a group's."""
    found = {}
    for operation in registry.every():
        right = OPERATIONS[operation.name]
        kind = PLACES.get(operation.object_type, operation.object_type)
        if operation.name in ELSEWHERE:
            found[f"POST {ELSEWHERE[operation.name]}"] = (right, False)
        elif not operation.creates:
            found[f"POST {kind}/{operation.verb}"] = (right, False)
            if operation.object_type == "vm":
                found[f"POST vms/group/{operation.verb}"] = (right, True)
    return found


def expected_of_operation(right: str, path: str, group: bool) -> str:
    """What everybody gets who calls an operation: by the right, then by whose object it is."""
    rights = permissions.BY_LEVEL
    customer = "S" if right in rights["user"] else "D"
    another = "D" if customer == "D" else "S" if group else "A"
    reader = "S" if right in rights["readonly"] else "D"
    administrator = "S" if right in rights["admin"] else "D"
    return f"N{another}{customer}{reader}{administrator}DN"


def expected() -> dict[str, str]:
    """What everybody gets, by route."""
    made = {route: expected_of_operation(right, route, group) for route, (right, group) in of_operations().items()}
    return {**made, **ROUTES}


def call(world: World, caller: str, route: str) -> Any:
    """The answer that the caller gets."""
    method, _, path = route.partition(" ")
    body = BODIES.get(route)
    if body is None and method == "POST":
        body = body_of_operation(world, path)
    ask = getattr(world.clients[caller], method.lower())
    where = f"/api/v1/{path.format(**world.ids)}"
    return ask(where, body, format="json") if method != "GET" else ask(where)


def body_of_operation(world: World, path: str) -> dict[str, Any]:
    """What the operation of a path requires."""
    parts = path.split("/")
    kinds_ = {"vms": "vm", "nodes": "node", "networks": "network", "dns-servers": "dns-server"}
    kinds_["security-groups"] = "security-group"
    kind = "vm" if parts[-1] == "take-over" else kinds_.get(parts[0], parts[0])
    found = [each for each in registry.every() if each.name == f"{kind}.{parts[-1]}"]
    if not found:
        return {}
    fields = found[0].params.model_fields.items()
    values = {name: FIELDS[name] for name, field in fields if field.is_required()}
    return {"ids": [world.ids["vm"]], "params": values} if "group" in parts else values


def outcome(world: World, route: str, answer: Any) -> str:
    """The answer's letter."""
    assert answer.status_code < 500, (route, answer.content)
    of = {"POST vms/{vm}/": "vm", "POST networks/{network}/": "network", "POST nodes/{node}/remove-link": "node"}
    kind = next((kind for path, kind in of.items() if route.startswith(path)), None)
    if answer.status_code == 404 and kind and answer.json().get("object") != kind:
        return "S"  # a disk or a snapshot of a VM that is there, an address of a network
    known = {401: "N", 403: "D", 404: "A"}
    if answer.status_code in known:
        return known[answer.status_code]
    if route.startswith("GET") and answer.headers["Content-Type"] == "application/json":
        body = answer.json()
        kind = KINDS.get(route.removeprefix("GET "))
        if kind and isinstance(body, dict) and world.ids[kind] not in [row["id"] for row in body.get("results", [])]:
            return "E"
    return "S"


def test_every_route_is_in_the_matrix_and_nothing_else_is() -> None:
    assert {each.name: each.permission for each in registry.every()} == OPERATIONS
    assert set(routes()) == set(expected())


@pytest.mark.parametrize("caller", CALLERS)
def test_everybody_gets_what_the_matrix_says(caller: str, world: World, run_tasks: Callable[[], None]) -> None:
    at = CALLERS.index(caller)
    wrong = []
    # What removes comes last, so that what it removes is there for the others.
    for route, letters in sorted(
        expected().items(), key=lambda item: (removes(item[0]), item[0].endswith("sessions"), item[0])
    ):
        answer = call(world, caller, route)
        got = outcome(world, route, answer)
        if got != letters[at]:
            wrong.append(f"{route}: {got} instead of {letters[at]} ({answer.status_code})")
        # Each call finds the world as it was: no task holds anything.
        Task.objects.exclude(pk=world.ids["task"]).delete()
    assert not wrong, "\n".join(wrong)


def removes(route: str) -> bool:
    """Whether a route removes what it names."""
    return route.startswith("DELETE") or route.endswith(("/disable", "/delete", "/remove"))


def test_a_group_s_answer_says_absent_of_another_s_vm(world: World) -> None:
    for route, (right, group) in of_operations().items():
        if group and right in permissions.BY_LEVEL["user"]:
            answer = call(world, "another", route)
            assert [each["error"]["code"] for each in answer.json()["results"]] == ["not_found"], route
    assert Vm.objects.get().name == "theirs"
