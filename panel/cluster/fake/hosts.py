"""Domains: defined, started, stopped, told of."""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
import time
import uuid as uuids
from collections.abc import Sequence
from dataclasses import replace

from nodeagent.errors import Drifted
from nodeagent.pictures import as_png
from nodeagent.protocol import Nothing, host
from nodeagent.xml import edit
from nodeagent.xml.describe import domain_of
from nodeagent.xml.facts import facts_of
from panel.cluster.client import Channel, Progress, Report
from panel.cluster.fake.bridges import Bridges
from panel.cluster.fake.described import changed_spec
from panel.cluster.fake.state import STATES_ON, AgentRefusal, FakeDomain

NVRAM_BYTES = 540_672
"""What OVMF keeps."""


class Hosts(Bridges):
    """Domains and their power."""

    def _state(self, uuid: str) -> host.HostState:
        domain = self._find(uuid)
        if domain is None:
            return host.HostState(uuid=uuid, exists=False)
        port = 5900 if domain.state in STATES_ON else None
        autostart = domain.spec.autostart
        return host.HostState(
            uuid,
            True,
            domain.spec.name,
            domain.state,
            domain.persistent,
            port,
            autostart=autostart,
            clock=time.monotonic(),
            boot=self.boot,
        )

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
                self._check_filter(interface)
        if not spec.name or "/" in spec.name or "\n" in spec.name:
            text = f"XML error: the name {spec.name!r} is not acceptable"
            raise AgentRefusal("libvirt", text, libvirt_code=27, connection_lost=False)
        there = self.domains.get(spec.uuid)
        self._refuse_saved(there)
        if there is not None and request.before is not None:
            spec = self._changed(there.spec, request.before, spec)
        if any(other.spec.name == spec.name and uuid != spec.uuid for uuid, other in self.domains.items()):
            text = f"operation failed: domain '{spec.name}' already exists"
            raise AgentRefusal("libvirt", text, libvirt_code=9, connection_lost=False)
        if there is not None and there.spec.name != spec.name and there.state in STATES_ON:
            raise AgentRefusal("in_use", f"The domain runs under the name “{there.spec.name}”.")
        self._filter_ports(spec.uuid, request.spec.interfaces)
        self._define(spec)
        return self._state(spec.uuid)

    def _refuse_saved(self, domain: FakeDomain | None) -> None:
        if domain is not None and domain.state == "saved":
            raise AgentRefusal(
                "memory_saved", "Its memory is saved on the node: start it, or discard the memory, first."
            )

    def _changed(self, there: host.DomainSpec, before: host.DomainSpec, after: host.DomainSpec) -> host.DomainSpec:
        """What is described, with what differs between the two; refused where it is neither."""
        names = edit.touched(before, after)
        self._refuse_drift(there, before, after, names)
        return changed_spec(there, before, after, names)

    def _refuse_drift(
        self, there: host.DomainSpec, before: host.DomainSpec, after: host.DomainSpec, names: Sequence[str]
    ) -> None:
        try:
            edit.refuse(facts_of(domain_of(there)), before, after, names)
        except Drifted as error:
            raise AgentRefusal(error.code, error.message, **error.data) from error

    def _define(self, spec: host.DomainSpec) -> FakeDomain:
        there = self.domains.setdefault(spec.uuid, FakeDomain(spec))
        if there.state in STATES_ON and there.running is None:
            there.running = there.spec
        there.spec, there.persistent = spec, True
        return there

    def _check_filter(self, interface: host.InterfaceSpec) -> None:
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
        self.nvram.pop(request.uuid, None)
        self.receiving.pop(request.uuid, None)
        self._filter_ports(request.uuid, [])
        return Nothing()

    def _host_start(self, request: host.HostStart, _report: Report | None) -> host.HostState:
        domain = self._domain(request.uuid)
        if domain.state == "saved":
            # It goes on with what it had: `running` is as it was.
            pass
        elif domain.state not in STATES_ON:
            from_iso = request.from_iso and domain.spec.iso and not domain.spec.boot_iso
            domain.running = replace(domain.spec, boot_iso=True) if from_iso else None
            domain.begin_run()
        domain.state = "running"
        if domain.spec.settings.firmware == "uefi":
            self.nvram.setdefault(request.uuid, NVRAM_BYTES)
        from_iso = request.from_iso and bool(domain.now.iso) and domain.now.boot_iso and not domain.spec.boot_iso
        return replace(self._state(request.uuid), from_iso=from_iso)

    def _host_shutdown(self, request: host.HostShutdown, report: Report | None) -> host.HostState:
        domain = self._find(request.uuid)
        last = domain.counters(self.boot) if domain is not None else None
        if domain is not None and domain.obeys and domain.state != "saved":
            domain.state = "shut off"
        began = time.monotonic()
        while domain is not None and domain.state in STATES_ON:
            waited = time.monotonic() - began
            if waited >= request.timeout_seconds:
                break
            if report is not None:
                report(Progress(waited, request.timeout_seconds, "waiting for the guest"))
            time.sleep(0.01)
        return replace(self._state(request.uuid), counters=last)

    def _host_stop(self, request: host.HostStop, _report: Report | None) -> host.HostState:
        domain = self._find(request.uuid)
        last = domain.counters(self.boot) if domain is not None else None
        if domain is not None and domain.state != "saved":
            domain.state = "shut off"
        last = replace(last, final=True) if last is not None else None
        return replace(self._state(request.uuid), counters=last)

    def _host_discard_saved(self, request: host.HostDiscardSaved, _report: Report | None) -> host.HostState:
        domain = self._find(request.uuid)
        if domain is not None and domain.state == "saved":
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
        domain = self._find(request.uuid)
        if domain is None or domain.state not in STATES_ON:
            return self._state(request.uuid)
        counted = domain.counters(self.boot) if request.counters else None
        return replace(self._state(request.uuid), job=domain.job, counters=counted)

    def _hosts_read(self, request: host.HostsRead, _report: Report | None) -> host.HostList:
        hosts = [self._state(uuid) for uuid in self.domains]
        snapshots = {uuid: list(domain.snapshots) for uuid, domain in self.domains.items()}
        return host.HostList(hosts=hosts, nvram=sorted(self.nvram), snapshots=snapshots)

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

    def _console_open(self, request: host.ConsoleOpen, _report: Report | None) -> host.Console:
        if len(request.password) != 8:
            raise AgentRefusal("invalid_params", "A console's password has 8 characters.", field="password")
        if self._domain(request.uuid).state not in STATES_ON:
            raise AgentRefusal("guest_stopped", "The VM does not run.", state="shut off")
        return host.Console(port=5900, expires=time.time() + request.valid_seconds)

    def _host_picture(self, request: host.HostPicture, _report: Report | None) -> host.Picture:
        if self._domain(request.uuid).state not in STATES_ON:
            raise AgentRefusal("guest_stopped", "The VM does not run.", state="shut off")
        return host.Picture(png=base64.b64encode(as_png(b"P6 4 3 255 " + b"\0" * 36)).decode())

    def _open_serial(self, uuid: str, take: bool) -> Channel:
        domain = self._domain(uuid)
        if domain.state not in STATES_ON:
            raise AgentRefusal("guest_stopped", "The VM does not run.", state="shut off")
        if not domain.serial:
            raise AgentRefusal("no_serial", "The domain has no serial port.")
        had = self.serials.pop(uuid, None)
        if had is not None and _is_open(had) and not take:
            self.serials[uuid] = had
            raise AgentRefusal("serial_taken", "Somebody else has the serial port.")
        if had is not None:
            had.close()
        near, self.serials[uuid] = socket.socketpair()
        return near


def _is_open(guest: socket.socket) -> bool:
    """Whether somebody has the other end."""
    try:
        return guest.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
