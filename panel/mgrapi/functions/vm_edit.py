"""`vm.edit`: without `elid` a new VM, with it what a VM is and shall be; without `sok` the filled form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from django.db import transaction

from panel.accounts.models import User
from panel.accounts.selectors import user_named
from panel.core import permissions
from panel.core.errors import InvalidValue, NotFound
from panel.core.transactions import again_if_lost
from panel.core.wording import Text, one_of
from panel.images.selectors import isos_for, list_flavors, list_isos
from panel.mgrapi.call import NUMBER, Call
from panel.mgrapi.documents import Answer, Cell, Done, Form
from panel.mgrapi.functions.lists import MOST_ROWS
from panel.mgrapi.functions.network import TYPES, became, check_domain, family_choices, place_of
from panel.mgrapi.functions.osnames import default_image, image_of, os_choices, refuse_recipe
from panel.mgrapi.functions.presets import flavor_of, gib_of
from panel.mgrapi.functions.vm_work import keys_of, node_choices, node_name, password_of
from panel.mgrapi.functions.vms import form_state, vm_row
from panel.tasks import registry
from panel.tasks.wishes import still_to_ask
from panel.vms.machine import Clock, CpuMode
from panel.vms.models import Interface, Vm
from panel.vms.selectors import get_vm

SETTINGS = {"mem": "memory_mib", "vcpu": "vcpus", "cputune": "cpu_weight", "blkiotune": "io_weight"}
"""Numbers of vm.configure by their classic names; those of a new VM's size come first."""
SPEEDS = {"inbound": "inbound_kibps", "outbound": "outbound_kibps"}
FROM_IMAGE, FROM_ISO = "installtemplate", "installiso"
CPU_MODES = {"default": "", **{mode.value: mode.value for mode in CpuMode if mode not in ("", CpuMode.CUSTOM)}}
T = TypeVar("T")


def vm_edit(viewer: User, call: Call) -> Answer:
    """Read, create or change a VM."""
    if call.text("elid"):
        vm = get_vm(viewer, call.id())
        return _changed(viewer, call, vm) if call.sok else _form(viewer, vm)
    permissions.require(viewer, "vms.create")
    return _created(viewer, call) if call.sok else _empty_form(viewer)


def _empty_form(viewer: User) -> Form:
    values: dict[str, Cell] = dict.fromkeys(
        ("name", "mem", "vcpu", "vsize", "domain", "ip", "password", "confirm", "sshpubkey"), ""
    )
    choices = {
        "vmi": os_choices(viewer),
        "preset": {str(each.pk): each.name for each in list_flavors(viewer)[:MOST_ROWS]},
        "hostnode": node_choices(viewer),
        "installtype": {FROM_IMAGE: "OS image", FROM_ISO: "ISO image"},
        "iso": {each.name: each.title for each in list_isos(viewer)[:MOST_ROWS]},
        "recipe": {"null": "None"},
        "family": family_choices(viewer),
        "iptype": dict(zip(TYPES, TYPES, strict=True)),
    }
    values |= {"user": viewer.name, "hostnode": "auto", "installtype": FROM_IMAGE, "recipe": "null"}
    return Form({**values, "cputune": 0, "blkiotune": 0, "inbound": 0, "outbound": 0}, choices)


def _created(viewer: User, call: Call) -> Done:
    refuse_recipe(call)
    check_domain(call)
    asked: dict[str, Any] = {
        "name": call.need("name").lower(),
        **asdict(place_of(viewer, call)),
        "node": node_name(viewer, call),
    }
    if owner := call.text("user"):
        asked["owner"] = _user_name(owner)
    if preset := call.text("preset"):
        asked["flavor"] = flavor_of(viewer, preset, "preset").name
    asked |= _installed(viewer, call, asked.get("owner"))
    sizes = {"memory_mib": call.number("mem"), "vcpus": call.number("vcpu"), "disk_gib": gib_of(call)}
    asked |= {name: value for name, value in sizes.items() if value is not None}
    asked |= _settings(call, ("cputune", "blkiotune")) | _speeds(call)
    made = registry.get("vm.create").submit(viewer, asked).steps.get(position=0).output["result"]
    interface = Interface.objects.select_related("network").with_ips().filter(vm_id=made["vm"]).first()
    return Done({"id": made["vm"], "elid": made["vm"], "ip": made["address"], **became(interface)})


def _installed(viewer: User, call: Call, owner: str | None) -> dict[str, Any]:
    """What of vm.create says how the VM comes to its system."""
    kind = call.text("installtype") or FROM_IMAGE
    if kind == FROM_ISO:
        # Clients send a password and keys with every order; an installer asks for them itself.
        return {"iso": _iso_name(viewer, call, owner)}
    if kind != FROM_IMAGE:
        raise InvalidValue(
            Text("“installtype” is {one} or {other}.", {"one": FROM_IMAGE, "other": FROM_ISO}), field="installtype"
        )
    password = password_of(call)
    return {
        "image": image_of(call) or default_image(viewer) or call.need("vmi"),
        "ssh_keys": keys_of(call),
        **({"password": password} if password else {}),
    }


def _iso_name(viewer: User, call: Call, owner: str | None) -> str:
    """The name of the ISO image that `iso` names, or that has its number in the list; raises NotFound."""
    asked = call.need("iso")
    if owner not in (None, viewer.name):
        permissions.require(viewer, "vms.assign")
    isos = isos_for(user_named(owner) if owner else viewer)
    if not NUMBER.match(asked) or isos.filter(name=asked).exists():
        return asked
    found = isos.filter(pk=int(asked)).first()
    if found is None or isos.filter(name=found.name).first() != found:
        raise NotFound(object="iso", id=asked, field="iso")
    return found.name


def _user_name(asked: str) -> str:
    """The name of a user who is named, or numbered as in VMmanager's lists."""
    if NUMBER.match(asked) and (found := User.objects.filter(pk=int(asked)).first()):
        return found.name
    return asked


def _form(viewer: User, vm: Vm) -> Form:
    interface = next(iter(vm.interfaces.all()), None)
    row = {name: value for name, value in vm_row(vm, viewer).items() if name not in ("blocked", "id")}
    values: dict[str, Cell] = {
        "elid": vm.pk,
        **row,
        **form_state(vm),
        "vsize": row["vdsize"],
        "cputune": vm.cpu_weight,
        "blkiotune": vm.io_weight,
        "cpu_mode": vm.cpu_mode or "default",
        "clock_offset": vm.clock,
        "inbound": interface.inbound_kibps if interface else 0,
        "outbound": interface.outbound_kibps if interface else 0,
        "blocked": "on" if vm.suspended else "off",
    }
    return Form(values, {"cpu_mode": {each: each for each in CPU_MODES}, "clock_offset": dict(Clock.choices)})


def _changed(viewer: User, call: Call, vm: Vm) -> Done:
    """What differs from the VM is asked for; forms send back what has not changed too."""
    node = (vm.node.name, str(vm.node_id)) if permissions.allows(viewer, "cluster.view") else ()
    for name, now in {"name": (vm.name,), "hostnode": node}.items():
        if call.text(name) and call.text(name) not in now:
            raise InvalidValue(Text("“{name}” cannot be changed here.", {"name": name}), field=name)
    if (size := gib_of(call)) is not None and size != sum(disk.volume.size_gib for disk in vm.disks.all()):
        raise InvalidValue("Disks are grown one by one, on the VM's page or by REST.", field="vsize")
    check_domain(call)
    settings, speeds, owner = _settings(call, tuple(SETTINGS)), _speeds(call), _user_name(call.text("user"))
    blocked = call.text("blocked").lower()
    if blocked not in ("", "on", "off"):
        raise InvalidValue("“blocked” is on or off.", field="blocked")

    def submit() -> None:
        _configure(viewer, vm, settings, speeds)
        if owner and still_to_ask("vm.change-owner", vm.pk, {"owner": owner}, {"owner": vm.owner.name}):
            registry.get("vm.change-owner").submit(viewer, {"owner": owner}, object_id=vm.pk, queue=True)
        if blocked and vm.suspended != (blocked == "on"):
            operation = "vm.suspend" if blocked == "on" else "vm.unsuspend"
            registry.get(operation).submit(viewer, {}, object_id=vm.pk, queue=True)

    _together(submit)
    return Done()


def _settings(call: Call, names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {SETTINGS[name]: number for name in names if (number := call.number(name)) is not None}
    if mode := call.text("cpu_mode"):
        if mode not in CPU_MODES:
            raise InvalidValue(one_of("cpu_mode", CPU_MODES), field="cpu_mode")
        found["cpu_mode"] = CPU_MODES[mode]
    if clock := call.text("clock_offset"):
        found["clock"] = clock
    return found


def _speeds(call: Call) -> dict[str, int]:
    return {field: number for name, field in SPEEDS.items() if (number := call.number(name)) is not None}


def _configure(viewer: User, vm: Vm, settings: dict[str, Any], speeds: dict[str, int]) -> None:
    """Ask for what differs from the VM, behind what is under way with it: one task, whatever it is."""
    interface = next(iter(vm.interfaces.all()), None)
    now = {name: getattr(interface, name, 0) for name in speeds}
    present = {**{name: getattr(vm, name) for name in settings}, **now}
    changed = still_to_ask("vm.configure", vm.pk, {**settings, **speeds}, present)
    if interface is not None:
        # A change of the interface alone may wait too, by REST or from its page.
        changed |= still_to_ask("vm.change-interface", vm.pk, speeds, now, interface=interface.mac)
    if changed:
        registry.get("vm.configure").submit(viewer, changed, object_id=vm.pk, queue=True)


def _together(submit: Callable[[], T]) -> T:
    """All that is asked for, or nothing; again where the database chose another to go first."""
    return again_if_lost(transaction.atomic(submit))


FUNCTIONS = {"vm.edit": vm_edit}
