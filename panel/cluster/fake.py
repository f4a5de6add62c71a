"""A node in memory, with behaviour: domains, volumes, images, bridges, fences, and faults on request.

It passes the same contract tests as the real agent (tests/contract), so that tests of pages and of
the API are fast. It never stands as proof that an operation works on a real node.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import threading
import time
import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from nodeagent.protocol import (
    BadMessage,
    Fence,
    Nothing,
    Request,
    audit,
    devices,
    guest,
    host,
    migration,
    network,
    snapshot,
    storage,
)
from nodeagent.protocol import node as machine
from nodeagent.protocol.storage import check_identity
from nodeagent.xml import facts
from nodeagent.xml.describe import domain_of
from panel.cluster.client import Channel, Progress, Report
from panel.cluster.session import translate
from panel.core.errors import NodeUnreachable

T = TypeVar("T")
GIB = 1024**3
STATES_ON = ("running", "paused")


class AgentRefusal(Exception):
    """What the real agent would answer as an error; call() translates it the same way."""

    def __init__(self, code: str, message: str, **data: Any) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message, "data": data}


@dataclass
class FakeSnapshot:
    """A snapshot of a domain: the state that it was in, and the snapshot before."""

    state: str
    with_memory: bool
    parent: str | None


@dataclass
class FakeDomain:
    """A domain: its description and its state."""

    spec: host.HostSpec
    state: str = "shut off"
    obeys: bool = True
    """Whether its guest heeds a request to shut down."""
    answers: bool = True
    """Whether its guest can be reached while it runs."""
    running: host.HostSpec | None = None
    """What it was started with and what was changed live since; None: what is described."""
    snapshots: dict[str, FakeSnapshot] = field(default_factory=dict)
    current: str | None = None
    """The name of the snapshot that it goes on from."""
    has_agent: bool = False
    """Whether a guest agent answers while it runs."""

    @property
    def now(self) -> host.HostSpec:
        """What the running guest has."""
        return self.running or self.spec


@dataclass
class FakeVolume:
    """A volume or seed; sizes in bytes."""

    format: str
    virtual_bytes: int


@dataclass
class FakeNode:
    """The node. Everything in it may be looked at and changed by a test."""

    name: str = "fake"
    memory_mib: int = 65536
    cpu_count: int = 16
    capacity_bytes: int = 500 * GIB
    domains: dict[str, FakeDomain] = field(default_factory=dict)
    pools: set[str] = field(default_factory=set)
    files: dict[str, FakeVolume] = field(default_factory=dict)
    seeds: dict[str, tuple[str, storage.GuestIdentity]] = field(default_factory=dict)
    """What each seed says, by its path: the instance's id and the identity."""
    bridges: dict[str, network.BridgeEnsure] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    fences: dict[int, int] = field(default_factory=dict)
    tickets: set[int] = field(default_factory=set)
    lacks: list[str] = field(default_factory=list)
    """Reasons of its own why it takes no VM that is moved."""
    vmwatch: machine.VmwatchConfigure | None = None
    calls: list[Request[Any]] = field(default_factory=list)
    libvirt_runs: bool = True
    clock_offset: float = 0.0
    """Seconds that its clock is ahead."""
    removed: bool = False

    def __post_init__(self) -> None:
        self._faults: list[tuple[str, Exception, bool]] = []
        self._lock = threading.RLock()

    def fail(self, command: str, error: Exception, *, times: int = 1) -> None:
        """The next calls of `command` raise `error` and do nothing."""
        self._faults += [(command, error, False)] * times

    def lose_answer(self, command: str, *, times: int = 1) -> None:
        """The next calls of `command` are carried out, but their answers never arrive."""
        lost = NodeUnreachable(node=self.name, reason="the connection was lost")
        self._faults += [(command, lost, True)] * times

    def call(
        self, request: Request[T], *, deadline: float = 60.0, fence: Fence | None = None, progress: Report | None = None
    ) -> T:
        """Carry out `request` in memory; raises as the session with a real agent does."""
        with self._lock:
            fault = self._next_fault(request.COMMAND)
            if fault is not None and not fault[1]:
                raise fault[0]
            try:
                if fence is not None and request.MUTATES:
                    self._pass_fence(fence)
                self.calls.append(request)
                handler = cast(Callable[[Request[T], Report | None], T], getattr(self, f"_{request.COMMAND}"))
                result = handler(request, progress)
            except AgentRefusal as refusal:
                raise translate(refusal.body, self.name, request.COMMAND, deadline) from refusal
            if fault is not None:
                raise fault[0]
            return result

    def upload(self, local: Path, remote: str, *, deadline: float, progress: Report | None = None) -> None:
        """Keep the file's bytes under `remote`."""
        content = local.read_bytes()
        if progress is not None:
            progress(Progress(len(content), len(content)))
        self.uploads[remote] = content

    def update_programs(self) -> list[str]:
        """A fake node has none; faults of "update_programs" are raised."""
        fault = self._next_fault("update_programs")
        if fault is not None:
            raise fault[0]
        return []

    def open_channel(self, port: int) -> Channel:
        """A fake node has no consoles to speak of."""
        raise NodeUnreachable(node=self.name, reason=f"nothing listens on its port {port}")

    def close(self) -> None:
        """Nothing to let go of."""

    def _next_fault(self, command: str) -> tuple[Exception, bool] | None:
        for index, (name, error, after) in enumerate(self._faults):
            if name == command:
                del self._faults[index]
                return error, after
        return None

    def _pass_fence(self, fence: Fence) -> None:
        if fence.number < self.fences.get(fence.task, 0):
            raise AgentRefusal("fenced", "A later worker holds the task.", seen=self.fences[fence.task])
        self.fences[fence.task] = fence.number

    # The machine.

    def _node_facts(self, request: machine.NodeFacts, _report: Report | None) -> machine.Facts:
        used = sum(domain.spec.memory_mib for domain in self.domains.values() if domain.state in STATES_ON)
        return machine.Facts(
            hostname=self.name,
            os_id="debian",
            os_version="12",
            os_name="Debian GNU/Linux 12 (fake)",
            kernel="6.1.0",
            python="3.11.2",
            arch="x86_64",
            cpu_model="Fake CPU",
            cpu_count=self.cpu_count,
            memory_mib=self.memory_mib,
            memory_free_mib=self.memory_mib - used,
            file_systems=[machine.FileSystem("/", "/dev/fake", self.capacity_bytes, self._free())],
            time=time.time() + self.clock_offset,
            libvirt_version="9.0.0" if self.libvirt_runs else None,
            qemu_version="7.2.0" if self.libvirt_runs else None,
            host_uuid=None,
        )

    def _node_probe(self, request: machine.NodeProbe, _report: Report | None) -> machine.Probe:
        return machine.Probe("qemu", "A fake node emulates.")

    def _packages_install(self, request: machine.PackagesInstall, _report: Report | None) -> machine.Installed:
        return machine.Installed(packages=[])

    def _libvirt_ensure(self, request: machine.LibvirtEnsure, report: Report | None) -> machine.Facts:
        self.libvirt_runs = True
        return self._node_facts(machine.NodeFacts(), report)

    def _vmwatch_configure(self, request: machine.VmwatchConfigure, _report: Report | None) -> machine.ServiceState:
        if not (request.connect.isprintable() and request.secret.isprintable()):
            raise AgentRefusal("invalid_params", "A value has a character that it cannot hold.", field="connect")
        self.vmwatch = request
        return machine.ServiceState("vmwatch-node", True, 4711)

    def _vmwatch_status(self, request: machine.VmwatchStatus, _report: Report | None) -> machine.ServiceState:
        running = self.vmwatch is not None
        return machine.ServiceState("vmwatch-node", running, 4711 if running else None)

    def _vmwatch_remove(self, request: machine.VmwatchRemove, _report: Report | None) -> Nothing:
        self.vmwatch = None
        return Nothing()

    def _agent_remove(self, request: machine.AgentRemove, _report: Report | None) -> Nothing:
        self.removed = True
        return Nothing()

    # Storage.

    def _free(self) -> int:
        return self.capacity_bytes - sum(file.virtual_bytes for file in self.files.values())

    def _pool_state(self, path: str) -> storage.PoolState:
        return storage.PoolState(path=path, capacity_bytes=self.capacity_bytes, free_bytes=self._free(), reflink=True)

    def _check_pool(self, path: str) -> None:
        if not path.startswith("/") or ".." in path.split("/") or len(Path(path).parts) < 3:
            raise AgentRefusal("invalid_params", "A pool must be an absolute path of two folders.", field="path")

    def _pool_ensure(self, request: storage.PoolEnsure, _report: Report | None) -> storage.PoolState:
        self._check_pool(request.path)
        self.pools.add(request.path)
        return self._pool_state(request.path)

    def _pool_info(self, request: storage.PoolInfo, _report: Report | None) -> storage.PoolState:
        if request.path not in self.pools:
            raise AgentRefusal("invalid_params", "There is no pool at this path.", field="path")
        return self._pool_state(request.path)

    def _pool_remove(self, request: storage.PoolRemove, _report: Report | None) -> Nothing:
        if any(path.startswith((f"{request.path}/volumes/", f"{request.path}/seeds/")) for path in self.files):
            raise AgentRefusal("in_use", "The pool still has volumes.")
        for path in [path for path in self.files if path.startswith(f"{request.path}/")]:
            del self.files[path]
        self.pools.discard(request.path)
        return Nothing()

    def _pool_list(self, request: storage.PoolList, _report: Report | None) -> storage.PoolFiles:
        return storage.PoolFiles(
            files={
                name: sorted(
                    path.rpartition("/")[2]
                    for path in [*self.files, *self.uploads]
                    if path.startswith(f"{request.path}/{name}/")
                )
                for name in ("images", "volumes", "seeds")
            }
        )

    def _image_state(self, pool: str, sha256: str, task: int = 0) -> storage.ImageState:
        self._check_pool(pool)
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise AgentRefusal("invalid_params", "This is not a SHA-256.", field="sha256")
        path = f"{pool}/images/{sha256}.img"
        return storage.ImageState(path in self.files, path, f"{pool}/images/{sha256}.{task}.upload")

    def _image_status(self, request: storage.ImageStatus, _report: Report | None) -> storage.ImageState:
        return self._image_state(request.pool, request.sha256, request.task)

    def _image_commit(self, request: storage.ImageCommit, _report: Report | None) -> storage.ImageState:
        state = self._image_state(request.pool, request.sha256, request.task)
        content = self.uploads.pop(state.upload_path, None)
        if state.present:
            return state
        if content is None:
            raise AgentRefusal("invalid_params", "The image was not uploaded.", field="sha256")
        if hashlib.sha256(content).hexdigest() != request.sha256:
            raise AgentRefusal("corrupt", "The image arrived with another checksum than it left with.")
        self.files[state.path] = _disk(content)
        return self._image_state(request.pool, request.sha256, request.task)

    def _image_delete(self, request: storage.ImageDelete, _report: Report | None) -> Nothing:
        state = self._image_state(request.pool, request.sha256)
        self.files.pop(state.path, None)
        for path in [path for path in self.uploads if path.startswith(f"{request.pool}/images/{request.sha256}.")]:
            del self.uploads[path]
        return Nothing()

    def _upload_delete(self, request: storage.UploadDelete, _report: Report | None) -> Nothing:
        self.uploads.pop(self._image_state(request.pool, request.sha256, request.task).upload_path, None)
        return Nothing()

    def _inside(self, pool: str, path: str) -> None:
        folder, _, name = path.rpartition("/")
        if ".." in path or folder not in [f"{pool}/{each}" for each in ("images", "volumes", "seeds")] or not name:
            raise AgentRefusal("invalid_params", "The path does not lie in a folder of the pool.", field="path")

    def _volume_state(self, path: str) -> storage.VolumeState:
        file = self.files.get(path)
        if file is None:
            return storage.VolumeState(exists=False, path=path)
        return storage.VolumeState(True, path, file.format, file.virtual_bytes, file.virtual_bytes)

    def _check_format(self, name: str) -> None:
        if name not in ("qcow2", "raw"):
            raise AgentRefusal("invalid_params", "A volume's format is qcow2 or raw.", field="format")

    def _volume_copy(self, request: storage.VolumeCopy, report: Report | None) -> storage.VolumeState:
        self._check_format(request.format)
        self._inside(request.pool, request.path)
        image = self.files.get(self._image_state(request.pool, request.image_sha256).path)
        if request.path not in self.files:
            if image is None:
                raise AgentRefusal("invalid_params", "The pool has no copy of this image.", field="image_sha256")
            if report is not None:
                report(Progress(image.virtual_bytes, image.virtual_bytes))
            self.files[request.path] = FakeVolume(request.format, image.virtual_bytes)
        return self._volume_state(request.path)

    def _volume_create(self, request: storage.VolumeCreate, _report: Report | None) -> storage.VolumeState:
        self._check_format(request.format)
        self._inside(request.pool, request.path)
        there = self.files.get(request.path)
        if there is not None and there.virtual_bytes != request.size_bytes:
            raise AgentRefusal("exists", "A volume of another size is there already.")
        self.files[request.path] = FakeVolume(request.format, request.size_bytes)
        return self._volume_state(request.path)

    def _volume_grow(self, request: storage.VolumeGrow, _report: Report | None) -> storage.VolumeState:
        self._inside(request.pool, request.path)
        file = self.files.get(request.path)
        if file is None:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="path")
        file.virtual_bytes = max(file.virtual_bytes, request.size_bytes)
        return self._volume_state(request.path)

    def _volume_info(self, request: storage.VolumeInfo, _report: Report | None) -> storage.VolumeState:
        self._inside(request.pool, request.path)
        return self._volume_state(request.path)

    def _volume_delete(self, request: storage.VolumeDelete, _report: Report | None) -> Nothing:
        self._inside(request.pool, request.path)
        self.files.pop(request.path, None)
        return Nothing()

    def _volume_customize(self, request: storage.VolumeCustomize, _report: Report | None) -> Nothing:
        self._inside(request.pool, request.path)
        self._check_identity(request.guest)
        if request.path not in self.files:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="path")
        return Nothing()

    def _check_identity(self, guest: storage.GuestIdentity) -> None:
        try:
            check_identity(guest)
        except BadMessage as error:
            raise AgentRefusal("invalid_params", str(error), field=error.field) from error

    def _seed_create(self, request: storage.SeedCreate, _report: Report | None) -> storage.VolumeState:
        self._inside(request.pool, request.path)
        self._check_identity(request.guest)
        self.files[request.path] = FakeVolume("raw", 400 * 1024)
        self.seeds[request.path] = (request.instance_id, request.guest)
        return self._volume_state(request.path)

    def _seed_delete(self, request: storage.SeedDelete, _report: Report | None) -> Nothing:
        self._inside(request.pool, request.path)
        self.files.pop(request.path, None)
        self.seeds.pop(request.path, None)
        return Nothing()

    # Guests that are there already.

    def _check_change(self, change: guest.GuestChange, login: str = "root") -> None:
        try:
            guest.check_change(change, login)
        except BadMessage as error:
            raise AgentRefusal("invalid_params", str(error), field=error.field) from error

    def _seed_change(self, request: guest.SeedChange, _report: Report | None) -> storage.VolumeState:
        self._inside(request.pool, request.path)
        self._check_change(request.change)
        if request.path not in self.seeds:
            raise AgentRefusal("invalid_params", "There is no such seed.", field="path")
        instance_id, identity = self.seeds[request.path]
        self.seeds[request.path] = (request.instance_id or instance_id, request.change.of(identity))
        return self._volume_state(request.path)

    def _volume_reconfigure(self, request: guest.VolumeReconfigure, _report: Report | None) -> Nothing:
        self._inside(request.pool, request.path)
        self._check_change(request.change, request.login)
        if request.path not in self.files:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="path")
        return Nothing()

    def _guest_configure(self, request: guest.GuestConfigure, _report: Report | None) -> guest.Configured:
        self._check_change(request.change, request.login)
        domain = self._domain(request.uuid)
        return guest.Configured(answered=domain.state in STATES_ON and domain.has_agent)

    def _volume_clone(self, request: guest.VolumeClone, report: Report | None) -> storage.VolumeState:
        self._inside(request.pool, request.path)
        self._inside(request.source_pool, request.source)
        source = self.files.get(request.source)
        if request.path not in self.files:
            if source is None:
                raise AgentRefusal("invalid_params", "There is no such volume.", field="source")
            for domain in self.domains.values():
                if domain.state in STATES_ON and request.source in [disk.path for disk in domain.spec.disks]:
                    raise AgentRefusal("in_use", "A running guest holds the volume.")
            if report is not None:
                report(Progress(source.virtual_bytes, source.virtual_bytes))
            self.files[request.path] = FakeVolume(source.format, source.virtual_bytes)
        return self._volume_state(request.path)

    def _host_rename(self, request: guest.HostRename, _report: Report | None) -> host.HostState:
        domain = self._domain(request.uuid)
        if not request.name.isprintable():
            raise AgentRefusal("invalid_params", "A name has a character that XML cannot hold.", field="name")
        if domain.spec.name != request.name:
            if domain.state in STATES_ON:
                raise AgentRefusal("in_use", "The domain still runs.")
            self._host_create(host.HostCreate(spec=replace(domain.spec, name=request.name)), None)
        return self._state(request.uuid)

    # Network.

    def _bridge_state(self, name: str) -> network.BridgeState:
        ports = [
            interface.mac
            for domain in self.domains.values()
            if domain.state in STATES_ON
            for interface in domain.now.interfaces
            if interface.bridge == name
        ]
        return network.BridgeState(name=name, exists=name in self.bridges, ports=ports)

    def _check_bridge(self, name: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,14}", name):
            raise AgentRefusal("invalid_params", "A bridge has another kind of name.", field="name")

    def _bridge_ensure(self, request: network.BridgeEnsure, _report: Report | None) -> network.BridgeState:
        self._check_bridge(request.name)
        try:
            gateway, subnet = ipaddress.IPv4Interface(request.gateway), ipaddress.IPv4Network(request.subnet)
        except ValueError as error:
            raise AgentRefusal("invalid_params", f"This is not a network: {error}.", field="subnet") from error
        if gateway.ip not in subnet:
            raise AgentRefusal("invalid_params", "The gateway does not lie in the subnet.", field="gateway")
        self.bridges[request.name] = request
        return self._bridge_state(request.name)

    def _bridge_remove(self, request: network.BridgeRemove, _report: Report | None) -> Nothing:
        self._check_bridge(request.name)
        if self._bridge_state(request.name).ports:
            raise AgentRefusal("in_use", "The bridge still has interfaces.")
        self.bridges.pop(request.name, None)
        return Nothing()

    def _bridges_read(self, request: network.BridgesRead, _report: Report | None) -> network.BridgeList:
        return network.BridgeList(bridges=[self._bridge_state(name) for name in sorted(self.bridges)])

    # Domains.

    def _state(self, uuid: str) -> host.HostState:
        domain = self._find(uuid)
        if domain is None:
            return host.HostState(uuid=uuid, exists=False)
        port = 5900 if domain.state in STATES_ON else None
        autostart = domain.spec.autostart
        return host.HostState(uuid, True, domain.spec.name, domain.state, True, port, autostart=autostart)

    def _find(self, uuid: str) -> FakeDomain | None:
        try:
            return self.domains.get(str(uuids.UUID(uuid)))
        except ValueError:
            raise AgentRefusal("invalid_params", "This is not a UUID.", field="uuid") from None

    def _domain(self, uuid: str) -> FakeDomain:
        domain = self._find(uuid)
        if domain is None:
            raise AgentRefusal("no_such_domain", "libvirt has no such domain.")
        return domain

    def _host_create(self, request: host.HostCreate, _report: Report | None) -> host.HostState:
        spec = request.spec
        if any(ord(character) < 32 and character not in "\t\n\r" for character in spec.name):
            raise AgentRefusal("invalid_params", "A name has a character that XML cannot hold.", field="spec")
        for interface in spec.interfaces:
            if interface.guarded:
                self._check_guard(interface)
        if not spec.name or "/" in spec.name or "\n" in spec.name:
            text = f"XML error: the name {spec.name!r} is not acceptable"
            raise AgentRefusal("libvirt", text, libvirt_code=27, connection_lost=False)
        if any(other.spec.name == spec.name and uuid != spec.uuid for uuid, other in self.domains.items()):
            text = f"operation failed: domain '{spec.name}' already exists"
            raise AgentRefusal("libvirt", text, libvirt_code=9, connection_lost=False)
        self._define(spec)
        return self._state(spec.uuid)

    def _define(self, spec: host.HostSpec) -> FakeDomain:
        there = self.domains.setdefault(spec.uuid, FakeDomain(spec))
        if there.state in STATES_ON and there.running is None:
            there.running = there.spec
        there.spec = spec
        return there

    def _check_guard(self, interface: host.InterfaceSpec) -> None:
        if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", interface.mac.lower()):
            raise AgentRefusal("invalid_params", "This is not a MAC address.", field="mac")
        try:
            [ipaddress.ip_address(each) for each in interface.addresses]
        except ValueError as error:
            raise AgentRefusal("invalid_params", f"This is not an address: {error}.", field="addresses") from error

    def _host_delete(self, request: host.HostDelete, _report: Report | None) -> Nothing:
        domain = self._find(request.uuid)
        if domain is not None and domain.state in STATES_ON:
            raise AgentRefusal("in_use", "The domain still runs.")
        self.domains.pop(request.uuid, None)
        return Nothing()

    def _host_start(self, request: host.HostStart, _report: Report | None) -> host.HostState:
        domain = self._domain(request.uuid)
        if domain.state not in STATES_ON:
            domain.running = None
        domain.state = "running"
        return self._state(request.uuid)

    def _host_shutdown(self, request: host.HostShutdown, report: Report | None) -> host.HostState:
        domain = self._find(request.uuid)
        if domain is not None and domain.obeys:
            domain.state = "shut off"
        began = time.monotonic()
        while domain is not None and domain.state in STATES_ON:
            waited = time.monotonic() - began
            if waited >= request.timeout_seconds:
                break
            if report is not None:
                report(Progress(waited, request.timeout_seconds, "waiting for the guest"))
            time.sleep(0.01)
        return self._state(request.uuid)

    def _host_stop(self, request: host.HostStop, _report: Report | None) -> host.HostState:
        domain = self._find(request.uuid)
        if domain is not None:
            domain.state = "shut off"
        return self._state(request.uuid)

    def _active(self, uuid: str) -> FakeDomain:
        domain = self._domain(uuid)
        if domain.state not in STATES_ON:
            raise AgentRefusal("guest_stopped", "The VM does not run.", state=domain.state)
        return domain

    def _host_reset(self, request: host.HostReset, _report: Report | None) -> host.HostState:
        self._active(request.uuid).state = "running"
        return self._state(request.uuid)

    def _host_pause(self, request: host.HostPause, _report: Report | None) -> host.HostState:
        self._active(request.uuid).state = "paused"
        return self._state(request.uuid)

    def _host_resume(self, request: host.HostResume, _report: Report | None) -> host.HostState:
        self._active(request.uuid).state = "running"
        return self._state(request.uuid)

    def _host_autostart(self, request: host.HostAutostart, _report: Report | None) -> host.HostState:
        domain = self._domain(request.uuid)
        domain.spec = replace(domain.spec, autostart=request.enabled)
        return self._state(request.uuid)

    def _host_info(self, request: host.HostInfo, _report: Report | None) -> host.HostState:
        return self._state(request.uuid)

    def _hosts_read(self, request: host.HostsRead, _report: Report | None) -> host.HostList:
        return host.HostList(hosts=[self._state(uuid) for uuid in self.domains])

    # Snapshots.

    def _snapshots_of(self, uuid: str, name: str) -> FakeDomain:
        if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", name):
            raise AgentRefusal("invalid_params", "A snapshot is named by letters, digits and hyphens.", field="name")
        return self._domain(uuid)

    def _snapshot_state(self, domain: FakeDomain, name: str) -> snapshot.SnapshotState:
        kept = domain.snapshots[name]
        return snapshot.SnapshotState(name, True, kept.state, kept.with_memory, kept.parent, domain.current == name)

    def _snapshot_create(self, request: snapshot.SnapshotCreate, _report: Report | None) -> snapshot.SnapshotState:
        domain = self._snapshots_of(request.uuid, request.name)
        if request.name not in domain.snapshots:
            active = domain.state in STATES_ON
            if active and not request.with_memory:
                raise AgentRefusal("in_use", "A running VM's snapshot must have its memory.")
            if request.with_memory and not active:
                raise AgentRefusal("guest_stopped", "The VM does not run: it has no memory.", state=domain.state)
            domain.snapshots[request.name] = FakeSnapshot(domain.state, active, domain.current)
            domain.current = request.name
        return self._snapshot_state(domain, request.name)

    def _snapshot_delete(self, request: snapshot.SnapshotDelete, _report: Report | None) -> Nothing:
        try:
            domain = self._snapshots_of(request.uuid, request.name)
        except AgentRefusal as refusal:
            if refusal.body["code"] != "no_such_domain":
                raise
            return Nothing()
        gone = domain.snapshots.pop(request.name, None)
        if gone is not None:
            for other in domain.snapshots.values():
                other.parent = gone.parent if other.parent == request.name else other.parent
            domain.current = gone.parent if domain.current == request.name else domain.current
        return Nothing()

    def _snapshot_revert(self, request: snapshot.SnapshotRevert, _report: Report | None) -> host.HostState:
        domain = self._snapshots_of(request.uuid, request.name)
        if request.name not in domain.snapshots:
            raise AgentRefusal("invalid_params", "The domain has no such snapshot.", field="name")
        domain.state, domain.current = domain.snapshots[request.name].state, request.name
        return self._state(request.uuid)

    def _snapshots_read(self, request: snapshot.SnapshotsRead, _report: Report | None) -> snapshot.SnapshotList:
        domain = self._domain(request.uuid)
        return snapshot.SnapshotList([self._snapshot_state(domain, name) for name in domain.snapshots])

    def _guest_wait(self, request: host.GuestWait, _report: Report | None) -> host.Reached:
        try:
            ipaddress.ip_address(request.address)
        except ValueError:
            raise AgentRefusal("invalid_params", "This is not an IP address.", field="address") from None
        domain = self._find(request.uuid)
        if domain is None or domain.state not in STATES_ON:
            raise AgentRefusal("guest_stopped", "The guest stopped before it answered.", state="shut off")
        if not domain.answers:
            raise AgentRefusal("deadline", f"The guest did not answer within {request.timeout_seconds:g} s.")
        return host.Reached(seconds=0.0)

    def _host_configure(self, request: audit.HostConfigure, _report: Report | None) -> audit.Configured:
        before = self._domain(request.spec.uuid).spec
        # Devices are other commands' matter.
        spec = replace(request.spec, disks=before.disks, interfaces=before.interfaces, cdroms=before.cdroms)
        domain = self._define(replace(spec, name=before.name))
        if domain.running is not None:
            domain.running = _changed_live(domain.running, domain.spec)
        return audit.Configured(pending=self._pending(domain))

    def _host_repair(self, request: audit.HostRepair, _report: Report | None) -> audit.Configured:
        there = self._find(request.spec.uuid)
        if there is not None and there.spec.name != request.spec.name and there.state in STATES_ON:
            raise AgentRefusal("in_use", "A domain can be given its name back only while it is off.")
        return audit.Configured(pending=self._pending(self._define(request.spec)))

    def _hosts_audit(self, request: audit.HostsAudit, _report: Report | None) -> audit.Audit:
        specs = {spec.uuid: spec for spec in request.specs}
        found = [
            audit.Differing(uuid, facts.drift(_facts(self.domains[uuid].spec), _facts(spec)), self._pending(domain))
            for uuid, spec in specs.items()
            if (domain := self.domains.get(uuid)) is not None
        ]
        foreign = [
            audit.ForeignHost(
                uuid,
                domain.spec.name,
                domain.state,
                domain.spec.memory_mib,
                domain.spec.vcpus,
                [disk.path for disk in domain.spec.disks],
                [interface.mac for interface in domain.spec.interfaces],
            )
            for uuid, domain in self.domains.items()
            if uuid not in specs
        ]
        differing = [each for each in found if each.drift or each.pending]
        return audit.Audit(differing, [uuid for uuid in specs if uuid not in self.domains], foreign)

    def _pending(self, domain: FakeDomain) -> list[audit.Difference]:
        if domain.state not in STATES_ON or domain.running is None:
            return []
        return facts.pending(_facts(domain.running), _facts(domain.spec))

    # Devices of running domains.

    def _on(self, uuid: str) -> FakeDomain | None:
        domain = self._domain(uuid)
        return domain if domain.state in STATES_ON else None

    def _disk_attach(self, request: devices.DiskAttach, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        now = domain.now
        if all(disk.path != request.disk.path for disk in now.disks):
            if request.disk.bus == "sata":
                return devices.DeviceState(True, False)
            domain.running = replace(now, disks=[*now.disks, request.disk])
        return devices.DeviceState(True, True)

    def _disk_detach(self, request: devices.DiskDetach, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        now = domain.now
        if any(disk.path == request.path and disk.bus == "sata" for disk in now.disks):
            raise AgentRefusal("in_use", "A disk on sata cannot be unplugged while the guest runs.")
        domain.running = replace(now, disks=[disk for disk in now.disks if disk.path != request.path])
        return devices.DeviceState(True, True)

    def _disk_grow(self, request: devices.DiskGrow, report: Report | None) -> storage.VolumeState:
        self._inside(request.pool, request.path)
        self._domain(request.uuid)
        return self._volume_grow(storage.VolumeGrow(request.pool, request.path, request.size_bytes), report)

    def _disk_limit(self, request: devices.DiskLimit, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        wanted, same = request.disk, False
        for disk in domain.now.disks:
            same = same or (disk.path, disk.bus, disk.cache) == (wanted.path, wanted.bus, wanted.cache)
        return devices.DeviceState(True, same)

    def _cdrom_change(self, request: devices.CdromChange, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        if domain.now.iso is None or request.target != host.ISO_TARGET:
            return devices.DeviceState(True, False)
        domain.running = replace(domain.now, iso=request.path)
        return devices.DeviceState(True, True)

    def _interface_attach(self, request: devices.InterfaceAttach, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        now, wanted = domain.now, request.interface
        others = [each for each in now.interfaces if each.mac != wanted.mac]
        domain.running = replace(now, interfaces=[*others, wanted])
        return devices.DeviceState(True, True)

    def _interface_detach(self, request: devices.InterfaceDetach, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        now = domain.now
        kept = [each for each in now.interfaces if each.mac != request.mac]
        domain.running = replace(now, interfaces=kept)
        return devices.DeviceState(True, True)

    def _interface_change(self, request: devices.InterfaceChange, _report: Report | None) -> devices.DeviceState:
        domain = self._on(request.uuid)
        if domain is None:
            return devices.DeviceState(False, False)
        now, wanted = domain.now, request.interface
        if all(each.mac != wanted.mac for each in now.interfaces):
            return devices.DeviceState(True, False)
        changed = [wanted if each.mac == wanted.mac else each for each in now.interfaces]
        domain.running = replace(now, interfaces=changed)
        return devices.DeviceState(True, True)

    def _console_open(self, request: host.ConsoleOpen, _report: Report | None) -> host.Console:
        if len(request.password) != 8:
            raise AgentRefusal("invalid_params", "A console's password has 8 characters.", field="password")
        if self._domain(request.uuid).state not in STATES_ON:
            raise AgentRefusal("guest_stopped", "The VM does not run.", state="shut off")
        return host.Console(port=5900, expires=time.time() + request.valid_seconds)

    # Moves between nodes.

    def _migration_describe(self, request: migration.MigrationDescribe, _report: Report | None) -> migration.Subject:
        domain = self._domain(request.uuid)
        spec = domain.spec
        return migration.Subject(
            spec.uuid, spec.name, domain.state, spec.virt, spec.machine, "", 0, 0, list(spec.cdroms)
        )

    def _migration_check(self, request: migration.MigrationCheck, _report: Report | None) -> migration.Reasons:
        reasons = list(self.lacks)
        for uuid, domain in self.domains.items():
            if uuid == request.subject.uuid:
                reasons.append("a domain with this UUID is there already")
            elif domain.spec.name == request.subject.name:
                reasons.append(f"another domain is called “{request.subject.name}” there")
        reasons += [f"the bridge “{name}” is missing" for name in request.bridges if name not in self.bridges]
        reasons += [f"the file {path} is not there" for path in request.files if path not in self.files]
        if request.memory_mib > self.memory_mib:
            reasons.append(f"{self.memory_mib} MiB of memory free, {request.memory_mib} MiB needed")
        if request.pool not in self.pools:
            reasons.append("the storage is not on this node")
        return migration.Reasons(reasons)

    def _migration_offer(self, request: migration.MigrationOffer, _report: Report | None) -> migration.Offer:
        self.tickets.add(request.ticket)
        return migration.Offer(f"ssh-ed25519 AAAA vmpanel-migration-{request.ticket}")

    def _migration_accept(self, request: migration.MigrationAccept, _report: Report | None) -> migration.Way:
        if request.public_key.split()[2:] != [f"vmpanel-migration-{request.ticket}"]:
            raise AgentRefusal("invalid_params", "This is not the key of this ticket.", field="public_key")
        self.tickets.add(request.ticket)
        _accepting[request.ticket] = self
        return migration.Way("/run/libvirt/libvirt-sock")

    def _migration_close(self, request: migration.MigrationClose, _report: Report | None) -> Nothing:
        self.tickets.discard(request.ticket)
        if _accepting.get(request.ticket) is self:
            del _accepting[request.ticket]
        return Nothing()

    def _other_end(self, ticket: int) -> FakeNode:
        if ticket not in self.tickets:
            raise AgentRefusal("invalid_params", "This node has no key for this ticket.", field="ticket")
        if ticket not in _accepting:
            raise AgentRefusal("command_failed", "The target cannot be reached by ssh: Permission denied")
        return _accepting[ticket]

    def _migration_run(self, request: migration.MigrationRun, report: Report | None) -> migration.Moved:
        domain = self._domain(request.uuid)
        other = self._other_end(request.ticket)
        if domain.state not in STATES_ON:
            text = "Requested operation is not valid: domain is not running"
            raise AgentRefusal("libvirt", text, libvirt_code=55, connection_lost=False)
        for disk in domain.spec.disks:
            if disk.path not in other.files:
                raise AgentRefusal("libvirt", f"no volume {disk.path}", libvirt_code=1, connection_lost=False)
        if report is not None:
            report(Progress(1, 1, "1 of 1 MiB, 1 MiB/s, a downtime of 1 ms is expected"))
        other.domains[request.uuid] = FakeDomain(domain.spec, "running" if request.resume else "paused")
        domain.state = "shut off"
        return migration.Moved(seconds=1.0, downtime_ms=1, moved_bytes=1024**2)

    def _migration_stop(self, request: migration.MigrationStop, _report: Report | None) -> host.HostState:
        return self._state(request.uuid)

    def _volume_open(self, request: migration.VolumeOpen, _report: Report | None) -> Nothing:
        self._inside(request.pool, request.path)
        if request.path not in self.files:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="path")
        return Nothing()

    def _volume_send(self, request: migration.VolumeSend, report: Report | None) -> Nothing:
        self._inside(request.pool, request.path)
        if request.path not in self.files:
            raise AgentRefusal("invalid_params", "There is no such volume.", field="path")
        self._other_end(request.ticket)
        if report is not None:
            report(Progress(1, 1, "1 of 1 MiB sent"))
        return Nothing()

    def _volume_close(self, request: migration.VolumeClose, _report: Report | None) -> storage.VolumeState:
        return self._volume_state(request.path)


def _facts(spec: host.HostSpec) -> facts.Facts:
    return facts.facts_of(domain_of(spec))


def _changed_live(running: host.HostSpec, spec: host.HostSpec) -> host.HostSpec:
    """What runs after QEMU was asked for everything that it can change: all but what it was built with."""
    then, most = spec.settings, running.settings
    most_mib, most_vcpus = max(most.max_memory_mib, running.memory_mib), max(most.max_vcpus, running.vcpus)
    memory_mib = spec.memory_mib if spec.memory_mib <= most_mib else running.memory_mib
    vcpus = spec.vcpus if spec.vcpus <= most_vcpus else running.vcpus
    return replace(
        running,
        title=spec.title,
        memory_mib=memory_mib,
        vcpus=vcpus,
        settings=replace(
            most,
            max_memory_mib=most_mib if memory_mib < most_mib else most.max_memory_mib,
            max_vcpus=most_vcpus if vcpus < most_vcpus else most.max_vcpus,
            cpu_weight=then.cpu_weight,
            cpu_limit_percent=then.cpu_limit_percent,
            io_weight=then.io_weight or most.io_weight,
            description=then.description,
        ),
    )


def _disk(content: bytes) -> FakeVolume:
    """An image's format and size, as qemu-img would find them."""
    if content[:4] == b"QFI\xfb":
        return FakeVolume("qcow2", int.from_bytes(content[24:32], "big"))
    return FakeVolume("raw", len(content))


_nodes: dict[int, FakeNode] = {}
_accepting: dict[int, FakeNode] = {}
"""Which node awaits a VM, by the move's ticket."""


def node(node_id: int) -> FakeNode:
    """The fake behind a node's row, made on first use."""
    return _nodes.setdefault(node_id, FakeNode(name=f"fake-{node_id}"))


def reset() -> None:
    """Forget all fakes."""
    _nodes.clear()
    _accepting.clear()
