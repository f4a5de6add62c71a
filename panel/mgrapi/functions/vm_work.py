"""`vm.chpasswd`, `vm.clone`, `vm.reinstall`, `vm.migrate`: a form first, then the work."""

from __future__ import annotations

from typing import Any

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.selectors import list_nodes
from panel.core import permissions
from panel.core.errors import InvalidValue, MissingValue, NotFound
from panel.mgrapi.call import NUMBER, Call
from panel.mgrapi.documents import Answer, Cell, Done, Form
from panel.mgrapi.functions.lists import MOST_ROWS
from panel.mgrapi.functions.network import became
from panel.mgrapi.functions.osnames import image_of, os_choices, refuse_recipe
from panel.tasks import registry
from panel.vms.models import Interface
from panel.vms.selectors import get_vm

OFF = ("off", "no", "0")


def password_of(call: Call) -> str:
    """The guest's password, empty for none; raises InvalidValue where its confirmation is another."""
    name = "passwd" if call.params.get("passwd") else "password"
    password, confirm = call.params.get(name, ""), call.params.get("confirm", "")
    if confirm and confirm != password:
        raise InvalidValue("The password and its confirmation differ.", field=name)
    if password and not 8 <= len(password) <= 128:
        raise InvalidValue("The password must have 8 to 128 characters.", field=name)
    return password


def keys_of(call: Call) -> list[str]:
    """The public keys, one a line."""
    return [line.strip() for line in call.text("sshpubkey").splitlines() if line.strip()]


def node_name(viewer: User, call: Call) -> str | None:
    """The node that is named by its number or name; None for `auto`. Raises NotFound."""
    asked = call.text("hostnode")
    if asked.lower() in ("", "auto", "null"):
        return None
    nodes = Node.objects.all() if permissions.allows(viewer, "cluster.view") else Node.objects.none()
    node = nodes.filter(pk=int(asked)).first() if NUMBER.match(asked) else nodes.filter(name=asked).first()
    if node is None:
        raise NotFound(object="node", id=asked[:64], field="hostnode")
    return node.name


def node_choices(viewer: User) -> dict[str, str]:
    """The nodes to choose from, and `auto`."""
    nodes = list_nodes(viewer).prefetch_related(None)[:MOST_ROWS]
    return {"auto": "The panel chooses", **{str(node.pk): node.name for node in nodes}}


def chpasswd(viewer: User, call: Call) -> Answer:
    """Another password for the login of the VM's image."""
    vm = get_vm(viewer, call.id())
    if not call.sok:
        return Form({"elid": vm.pk, "name": vm.name, "passwd": "", "confirm": ""})
    if not (password := password_of(call)):
        raise MissingValue(field="passwd")
    registry.get("vm.configure-guest").submit(viewer, {"password": password}, object_id=vm.pk, queue=True)
    return Done()


def reinstall(viewer: User, call: Call) -> Answer:
    """Another system, or the same anew. With `new_password=off` its password stays, whatever `password` says."""
    vm = get_vm(viewer, call.id())
    if not call.sok:
        now = vm.image.name if vm.image else None
        values: dict[str, Cell] = {"elid": vm.pk, "name": vm.name, "passwd": "", "confirm": "", "recipe": "null"}
        return Form(values, {"vmi": os_choices(viewer, first=now), "recipe": {"null": "None"}})
    refuse_recipe(call)
    asked: dict[str, Any] = {"ssh_keys": keys_of(call)}
    if call.text("new_password").lower() not in OFF and (password := password_of(call)):
        asked["password"] = password
    elif call.flag("new_password"):
        raise MissingValue(field="password")
    if image := image_of(call):
        asked["image"] = image
    registry.get("vm.reinstall").submit(viewer, asked, object_id=vm.pk, queue=True)
    return Done()


def migrate(viewer: User, call: Call) -> Answer:
    """The VM on another node."""
    vm = get_vm(viewer, call.id())
    permissions.require(viewer, "cluster.manage")
    if not call.sok:
        return Form({"elid": vm.pk, "name": vm.name, "hostnode": vm.node_id}, {"hostnode": node_choices(viewer)})
    asked = {"node": node_name(viewer, call)}
    registry.get("vm.migrate").submit(viewer, asked, object_id=vm.pk, queue=True)
    return Done()


def clone(viewer: User, call: Call) -> Answer:
    """A new VM `name` with a copy of the VM's disks."""
    permissions.require(viewer, "vms.create")
    vm = get_vm(viewer, call.id())
    if not call.sok:
        return Form({"elid": vm.pk, "name": "", "passwd": "", "confirm": ""})
    asked: dict[str, Any] = {"name": call.need("name").lower(), "ssh_keys": keys_of(call)}
    if password := password_of(call):
        asked["password"] = password
    task = registry.get("vm.clone").submit(viewer, asked, object_id=vm.pk, queue=True)
    made = task.steps.get(position=0).output["result"]
    interface = Interface.objects.select_related("network").with_ips().filter(vm_id=made["vm"]).first()
    return Done({"id": made["vm"], "elid": made["vm"], **became(interface)})


FUNCTIONS = {"vm.chpasswd": chpasswd, "vm.clone": clone, "vm.reinstall": reinstall, "vm.migrate": migrate}
