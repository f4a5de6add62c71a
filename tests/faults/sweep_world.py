"""What the sweep asks for: for every operation the world that it needs, and the request.

The one VM is brought back to a known state before each case, through the panel itself where that can be.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.faults.sweep_others import VIRSH, SpareHost, Stranger, path_of
from tests.lab.hosts import Lab, Node
from tests.stack import Stack, done, task_of, wait_until

ON, OFF, ABSENT = "running", "shut off", ""
ISO, OTHER_OWNER = "sweep-iso", "sweeper"
TWIN = (
    "<domain type='qemu'><name>{}</name><uuid>{}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
    "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><memballoon model='none'/></devices></domain>"
)
SAID_SECONDS = 30.0
CREATE = {"image": "tiny", "flavor": "tiny"}

Body = dict[str, Any]


class Subject:
    """The VM that operations are tried on; made anew when one was deleted."""

    def __init__(self, stack: Stack, api: httpx.Client, lab: Lab, nodes: list[Node], work: Path) -> None:
        self.stack, self.api, self.lab, self.nodes = stack, api, lab, nodes
        self.made = 0
        self.vm: int | None = None
        self.name = ""
        self.node = nodes[0]
        self.twin: Node | None = None
        self.stranger: Stranger | None = None
        self.spare: SpareHost | None = None
        self._register(work)

    def _register(self, work: Path) -> None:
        """An ISO image and a second user are there."""
        file = self.stack.layout.images / f"{ISO}.iso"
        argv = ["genisoimage", "-quiet", "-o", str(file), str(work)]
        subprocess.run(argv, check=True, capture_output=True)
        self.stack.manage("iso_register", str(file), "--title", "To be swept")
        self.stack.manage("create_admin", "--name", OTHER_OWNER)

    @property
    def path(self) -> str:
        """The VM's address in the API."""
        return f"vms/{self.vm}"

    def shown(self) -> dict[str, Any]:
        """The VM as the panel has it."""
        return dict(self.api.get(self.path).json())

    def do(self, verb: str, **raw: Any) -> dict[str, Any]:
        """An operation that ends well, behind one that the panel may have asked for itself; answers its result."""
        return dict(done(self.api, self.api.post(f"{self.path}/{verb}?queue=1", json=raw))["result"])

    def virsh(self, *words: str, node: Node | None = None) -> str:
        """What virsh says on the VM's node."""
        return (node or self.node).run([*VIRSH, *words]).stdout

    def bring(self, state: str) -> None:
        """Have the VM in this state with nothing of earlier cases, or have none."""
        self.forget_twin()
        if self.stranger is not None:
            # It became a VM, and is not one that other operations are tried on.
            self.remove()
            self.stranger = None
        if self.vm is not None and self.api.get(self.path).status_code == 404:
            self.vm = None
        if state == ABSENT:
            self.remove()
            self.made += 1
            self.name = f"sweep{self.made}"
            return
        if self.vm is None:
            self.made += 1
            self.name = f"sweep{self.made}"
            answer = self.api.post("vms", json=self.body())
            done(self.api, answer)
            self.vm = answer.json()["vm"]
        self._tidy()
        self.do({ON: "start", OFF: "force-off"}[state])
        self._look()

    def _look(self) -> None:
        shown = self.shown()
        self.name = shown["name"]
        self.node = next(node for node in self.nodes if node.name == shown["node"])

    def _tidy(self) -> None:
        """Nothing of earlier cases but the VM itself."""
        self.open_for_vms()
        shown = self.shown()
        if shown["suspended_at"]:
            self.do("unsuspend")
        if shown["installing"]:
            self._python(f"Installation.objects.filter(vm_id={self.vm}).delete()")
        if shown["in_rescue"]:
            self.do("end-rescue")
        if shown["iso"]:
            self.do("eject-iso")
        if shown["status"] == "missing" or shown["drifted"]:
            self.do("repair")
        while found := self.api.get(f"{self.path}/snapshots").json():
            # What followed it stands at the top afterwards.
            self.do("delete-snapshot", snapshot=found[0]["id"])
        if len(shown["disks"]) > 1 or len(shown["interfaces"]) > 1:
            # Off, since a guest that was struck may not let go of anything.
            self.do("force-off")
            for disk in shown["disks"][1:]:
                self.do("remove-disk", disk=disk["target"])
            for interface in shown["interfaces"][1:]:
                self.do("remove-interface", interface=interface["mac"])

    def _python(self, statement: str) -> None:
        """What has no door, in the panel's own Python."""
        self.stack.manage("shell", "-c", f"from panel.vms.models import Installation; {statement}")

    def body(self) -> Body:
        """A creation's request."""
        return {"name": self.name, "node": self.nodes[0].name, **CREATE}

    def node_path(self) -> str:
        """The address of the VM's node in the API."""
        return path_of(self.api, self.node.name) or ""

    def ask(self, operation: str, raw: Body) -> int:
        """Ask for the operation; the task."""
        kind, _, verb = operation.partition(".")
        if operation == "vm.create":
            answer = self.api.post("vms", json=self.body())
            self.vm = answer.json()["vm"]
        elif operation == "vm.delete":
            answer = self.api.delete(self.path)
        elif operation == "node.remove":
            answer = self.api.delete(self.node_path())
        else:
            kind = "node" if operation == "vm.take-over" else kind
            where = {"vm": self.path, "node": self.node_path(), "cluster": "cluster", "vmwatch": "vmwatch"}[kind]
            answer = self.api.post(f"{where}/{verb}", json=raw)
            if operation == "vm.take-over":
                self.vm = answer.json()["vm"]
        return task_of(answer)

    def remove(self) -> None:
        """None is left."""
        self.forget_twin()
        if self.vm is not None and self.api.get(self.path).status_code == 200:
            done(self.api, self.api.delete(self.path))
        self.vm = None

    def remove_others(self) -> None:
        """No VM is left that a case made beside this one."""
        for vm in self.api.get("vms", params={"limit": 200}).json()["results"]:
            if vm["name"].startswith("sweep-copy"):
                done(self.api, self.api.delete(f"vms/{vm['id']}?queue=1"))

    def open_for_vms(self) -> None:
        """No node is in maintenance."""
        for node in self.api.get("nodes").json()["results"]:
            if node["maintenance"]:
                done(self.api, self.api.post(f"nodes/{node['id']}/end-maintenance", json={}))

    def make_twin(self) -> None:
        """The other node runs a domain of the VM's UUID, and the panel knows."""
        self.twin = next(node for node in self.nodes if node is not self.node)
        self.twin.run(["sh", "-c", "cat > /run/twin.xml"], input=TWIN.format(self.name, self.shown()["uuid"]))
        self.virsh("define", "/run/twin.xml", node=self.twin)
        self.virsh("start", self.name, node=self.twin)
        wait_until(lambda: self.shown()["seen_elsewhere"], "the panel knows of the twin", SAID_SECONDS)

    def forget_twin(self) -> None:
        """No other node has a domain of the VM's UUID; a copy that vm.settle stopped is a person's to remove."""
        if self.twin is not None:
            for verb in ("destroy", "undefine"):
                self.twin.run([*VIRSH, verb, self.name], check=False)
            self.twin = None
            wait_until(lambda: not self.shown()["seen_elsewhere"], "the twin is forgotten", SAID_SECONDS)

    def make_stranger(self) -> Body:
        """A node has a domain of somebody's, and no VM is there; the request that takes it over."""
        self.node = self.nodes[0]
        self.stranger = Stranger(self.api, self.node, f"stranger{self.made}")
        return self.stranger.body(self.name)

    def forget_stranger(self) -> None:
        """The domain has become the VM, or it is gone."""
        if self.stranger is not None and self.api.get(self.path).status_code == 404:
            self.stranger.refused()
            self.vm = self.stranger = None

    def join_spare(self) -> Body:
        """A host more is a node."""
        if self.spare is None:
            self.spare = SpareHost(self.lab, self.api)
        self.spare.join()
        self.node = self.spare.node
        return {}

    def join_and_remove_spare(self) -> None:
        """A host that was forgotten is a node once more, which takes what was left on it, and then none."""
        if self.spare is not None:
            self.spare.join_again()
        self.remove_spare()

    def remove_spare(self) -> None:
        """It is none any more, and clean."""
        if self.spare is not None:
            self.spare.leave()
        self.node = self.nodes[0]


def _nothing(subject: Subject) -> Body:
    return {}


@dataclass(frozen=True)
class Scenario:
    """What an operation needs: the VM's state before, the request's body, and what else is made ready.

    `prepare` answers what it adds to the body, `clean` takes away what the next case must not meet and
    bring() does not mend, before the doctor looks.
    """

    state: str
    raw: Body = field(default_factory=dict)
    prepare: Callable[[Subject], Body] = _nothing
    clean: Callable[[Subject], None] = lambda subject: None
    ask: Callable[[Subject, Body], int] | None = None
    """Where no request of ours makes the task: what does; answers the task."""


def _after(verb: str, **raw: Any) -> Callable[[Subject], Body]:
    """Another operation comes before."""

    def prepare(subject: Subject) -> Body:
        subject.do(verb, **raw)
        return {}

    return prepare


def _with_snapshot(subject: Subject) -> Body:
    return {"snapshot": subject.do("snapshot", name="before")["snapshot"]}


def _with_lost_snapshot(subject: Subject) -> Body:
    made = _with_snapshot(subject)
    [row] = [each for each in subject.api.get(f"{subject.path}/snapshots").json() if each["id"] == made["snapshot"]]
    subject.node.run([*VIRSH, "snapshot-delete", subject.shown()["name"], row["uuid"]])
    return made


def _by_hand(subject: Subject) -> Body:
    """A snapshot that the panel did not take."""
    name = subject.shown()["name"]
    subject.node.run([*VIRSH, "snapshot-delete", name, "by_hand"], check=False)
    subject.node.run([*VIRSH, "snapshot-create-as", name, "by_hand"])
    return {}


def _with_disk(subject: Subject) -> Body:
    return {"disk": subject.do("add-disk", size_gib=1)["disk"]}


def _with_interface(subject: Subject) -> Body:
    return {"interface": subject.do("add-interface")["interface"]}


def _with_address(subject: Subject) -> Body:
    return {"address": subject.do("add-address")["address"]}


def _another_mac(subject: Subject) -> Body:
    mac = subject.shown()["interfaces"][0]["mac"]
    last = int(mac[-2:], 16) ^ 1
    return {"interface": mac, "mac": f"{mac[:-2]}{last:02x}"}


def _another_size(subject: Subject) -> Body:
    return {"disk": "vda", "size_gib": subject.shown()["disks"][0]["size_gib"] + 1}


def _another_limit(subject: Subject) -> Body:
    return {"disk": "vda", "read_iops_sec": subject.shown()["disks"][0]["read_iops_sec"] + 100}


def _own_host(subject: Subject) -> Body:
    return {"address": subject.node.address, "ssh_port": subject.node.ssh_port}


def _another_name(subject: Subject) -> Body:
    subject.made += 1
    return {"name": f"sweep{subject.made}"}


def _copy_name(subject: Subject) -> Body:
    subject.made += 1
    return {"name": f"sweep-copy{subject.made}"}


def _another_owner(subject: Subject) -> Body:
    return {"owner": "admin" if subject.shown()["owner"] == OTHER_OWNER else OTHER_OWNER}


def _installing(subject: Subject) -> Body:
    mine = f"vm_id={subject.vm}"
    subject._python(f"Installation.objects.filter({mine}).delete(); Installation.objects.create({mine})")
    return {}


def _saved(subject: Subject) -> Body:
    subject.virsh("managedsave", subject.name)
    wait_until(lambda: subject.shown()["status"] == "saved", "the panel knows that it is saved", SAID_SECONDS)
    return {}


def _drifted(subject: Subject) -> Body:
    subject.made += 1
    subject.virsh("desc", subject.name, "--config", "--title", f"By hand {subject.made}")
    return {}


def _twin(subject: Subject) -> Body:
    subject.make_twin()
    return {"node": subject.node.name}


def _start_by_virsh(subject: Subject, raw: Body) -> int:
    """The suspended VM is started behind the panel's back, which then asks for vm.keep-off itself."""

    def newest() -> int:
        tasks = subject.api.get("tasks", params={"limit": 20}).json()["results"]
        return max((task["id"] for task in tasks if task["operation"] == "vm.keep-off"), default=0)

    before = newest()
    subject.virsh("start", subject.name)
    return int(wait_until(lambda: max(0, newest() - before) and newest(), "the panel asks for it", SAID_SECONDS))


SCENARIOS: dict[str, Scenario] = {
    "vm.create": Scenario(ABSENT),
    "vm.start": Scenario(OFF),
    "vm.stop": Scenario(ON, {"timeout_seconds": 2}),
    "vm.force-off": Scenario(ON),
    "vm.restart": Scenario(ON, {"timeout_seconds": 2}),
    "vm.delete": Scenario(ON),
    "vm.pause": Scenario(ON),
    "vm.resume": Scenario(ON, prepare=_after("pause")),
    "vm.reset": Scenario(ON),
    "vm.discard-saved": Scenario(ON, prepare=_saved),
    "vm.autostart": Scenario(ON, {"enabled": True}),
    "vm.suspend": Scenario(ON, {"reason": "unpaid", "timeout_seconds": 1}),
    "vm.unsuspend": Scenario(ON, prepare=_after("suspend", reason="unpaid", timeout_seconds=0)),
    "vm.keep-off": Scenario(OFF, prepare=_after("suspend", reason="unpaid", timeout_seconds=0), ask=_start_by_virsh),
    "vm.snapshot": Scenario(ON, {"name": "before"}),
    "vm.revert-snapshot": Scenario(ON, prepare=_with_snapshot),
    "vm.delete-snapshot": Scenario(ON, prepare=_with_snapshot),
    "vm.forget-snapshot": Scenario(ON, {"anyway": True}, prepare=_with_lost_snapshot),
    "vm.adopt-snapshot": Scenario(ON, {"name": "by_hand"}, prepare=_by_hand),
    "vm.finish-install": Scenario(OFF, prepare=_installing),
    "vm.configure": Scenario(OFF, {"clock": "localtime", "inbound_kibps": 1024}),
    "vm.repair": Scenario(ON, prepare=_drifted),
    "vm.adopt": Scenario(ON, prepare=_drifted),
    "vm.add-disk": Scenario(ON, {"size_gib": 1}),
    "vm.grow-disk": Scenario(ON, prepare=_another_size),
    "vm.change-disk": Scenario(ON, prepare=_another_limit),
    "vm.remove-disk": Scenario(ON, prepare=_with_disk),
    "vm.mount-iso": Scenario(ON, {"iso": ISO}),
    "vm.eject-iso": Scenario(ON, prepare=_after("mount-iso", iso=ISO)),
    "vm.add-interface": Scenario(ON),
    "vm.change-interface": Scenario(ON, prepare=_another_mac),
    "vm.remove-interface": Scenario(ON, prepare=_with_interface),
    "vm.add-address": Scenario(ON),
    "vm.remove-address": Scenario(ON, prepare=_with_address),
    "vm.rename": Scenario(OFF, prepare=_another_name),
    "vm.change-owner": Scenario(ON, prepare=_another_owner),
    "vm.reinstall": Scenario(ON, {"password": "another horse"}),
    "vm.configure-guest": Scenario(ON, {"hostname": "inside"}),
    "vm.clone": Scenario(ON, prepare=_copy_name, clean=Subject.remove_others),
    "vm.clone:off": Scenario(OFF, prepare=_copy_name, clean=Subject.remove_others),
    "vm.rescue": Scenario(ON, {"image": "tiny", "password": "another horse"}),
    "vm.end-rescue": Scenario(ON, prepare=_after("rescue", image="tiny", password="another horse")),
    "vm.migrate": Scenario(ON),
    "vm.take-over": Scenario(ABSENT, prepare=Subject.make_stranger, clean=Subject.forget_stranger),
    "vm.settle": Scenario(ON, {"stop_others": True}, prepare=_twin, clean=Subject.forget_twin),
    "node.check": Scenario(ON),
    "node.remove": Scenario(ABSENT, prepare=Subject.join_spare, clean=Subject.remove_spare),
    "node.reconnect": Scenario(ON),
    "node.restart-service": Scenario(ON, {"service": "vmwatch-node"}),
    "node.forget": Scenario(ABSENT, prepare=Subject.join_spare, clean=Subject.join_and_remove_spare),
    "node.evacuate": Scenario(ON, clean=Subject.open_for_vms),
    "cluster.examine": Scenario(ON),
    "cluster.read-host-key": Scenario(ON, prepare=_own_host),
    "vmwatch.configure": Scenario(ON, {"rotate": True}),
}
"""How each operation is asked for; behind a colon is how another scenario of the same operation differs."""


def operation_of(name: str) -> str:
    """The name of a scenario's operation."""
    return name.partition(":")[0]


EXCLUDED = {
    **{
        f"network.{verb}": "tests/db has its worker killed at every step, tests/lab/test_devices has it on hosts"
        for verb in ("add", "change", "remove", "add-subnet", "change-subnet", "remove-subnet")
    },
    **{
        f"node.{verb}": "the kernel of most hosts of tests has neither; tests/db has its worker killed at every step"
        for verb in ("add-link", "remove-link")
    },
    **dict.fromkeys(
        (
            *("security-group.change", "security-group.apply", "security-group.remove", "vm.set-security-groups"),
            *("vm.add-port-forward", "vm.remove-port-forward"),
        ),
        "tests/db has its worker killed at every step, tests/contract has the rules in a kernel",
    ),
    "node.accept-storage": "it needs a node whose storage is gone, where the sweep's VM lives: see tests/db",
    "node.add": "tests/faults/test_deployment_faults.py has its worker killed at every step, there and back",
}
"""What the sweep leaves out, and why. Operations whose steps are all done in the request have no worker to strike."""
