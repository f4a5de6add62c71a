"""The machine and its programs."""

from __future__ import annotations

import time

from nodeagent.protocol import Nothing
from nodeagent.protocol import node as machine
from panel.cluster.client import Report
from panel.cluster.fake.bridges import Bridges
from panel.cluster.fake.state import STATES_ON, AgentRefusal
from panel.cluster.fake.volumes import Volumes

FIRST_PID = 4711
FACTS_SECONDS = 15.0
"""As long as the agent waits for what libvirt says of QEMU."""


class Machine(Bridges, Volumes):
    """What the node is made of, and vmwatch on it."""

    def _node_facts(self, request: machine.NodeFacts, _report: Report | None) -> machine.Facts:
        return self._facts(FACTS_SECONDS)

    def _facts(self, seconds: float) -> machine.Facts:
        used = sum(domain.spec.memory_mib for domain in self.domains.values() if domain.state in STATES_ON)
        self.told = self.libvirt == "answers" and (self.told or self.libvirt_seconds <= seconds)
        told = self.told
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
            libvirt_version="9.0.0" if self.libvirt == "answers" else None,
            qemu_version="7.2.0" if told else None,
            host_uuid=None,
            copies_running=self.copies_running if told else None,
            libvirt=self.libvirt,
            libvirt_text="" if self.libvirt == "answers" else f"libvirt is {self.libvirt}.",
            libvirt_seconds=self.libvirt_seconds if told else None,
            kvm=self.kvm,
        )

    def _node_probe(self, request: machine.NodeProbe, _report: Report | None) -> machine.Probe:
        return machine.Probe("qemu", "A fake node emulates.")

    def _packages_install(self, request: machine.PackagesInstall, _report: Report | None) -> machine.Installed:
        return machine.Installed(packages=[])

    def _libvirt_ensure(self, request: machine.LibvirtEnsure, report: Report | None) -> machine.Facts:
        if self.libvirt == "silent":
            raise AgentRefusal("deadline", "libvirt runs on the node, but gave no answer: libvirt is silent.")
        self.libvirt = "answers"
        self.restore_network()
        return self._facts(request.facts_seconds)

    def _vmwatch_configure(self, request: machine.VmwatchConfigure, _report: Report | None) -> machine.ServiceState:
        if not (request.connect.isprintable() and request.secret.isprintable()):
            raise AgentRefusal("invalid_params", "A value has a character that it cannot hold.", field="connect")
        self.vmwatch = request
        return machine.ServiceState("vmwatch-node", True, self._watch_pid)

    def _vmwatch_status(self, request: machine.VmwatchStatus, _report: Report | None) -> machine.ServiceState:
        running = self.vmwatch is not None
        return machine.ServiceState("vmwatch-node", running, self._watch_pid if running else None)

    @property
    def _watch_pid(self) -> int:
        return FIRST_PID + self.restarted.count(machine.VMWATCH_NODE)

    def _service_restart(self, request: machine.ServiceRestart, _report: Report | None) -> machine.ServiceState:
        if request.service not in machine.SERVICES:
            raise AgentRefusal("invalid_params", f"There is no service “{request.service}”.", field="service")
        if request.service == machine.VMWATCH_NODE and self.vmwatch is None:
            raise AgentRefusal("invalid_params", "vmwatch-node is not configured on the node.", field="service")
        self.restarted.append(request.service)
        if request.service == machine.LIBVIRTD:
            if self.libvirt == "silent":
                raise AgentRefusal("deadline", "libvirt runs on the node, but gave no answer: libvirt is silent.")
            self.libvirt = "answers"
            return machine.ServiceState(request.service, True, FIRST_PID)
        return machine.ServiceState(request.service, True, self._watch_pid)

    def _port_probe(self, request: machine.PortProbe, _report: Report | None) -> machine.Reached:
        reason = self.unreached.get(request.port, "")
        return machine.Reached(reached=not reason, reason=reason)

    def _vmwatch_remove(self, request: machine.VmwatchRemove, _report: Report | None) -> Nothing:
        self.vmwatch = None
        return Nothing()

    def _mark_read(self, request: machine.MarkRead, _report: Report | None) -> machine.HostMark:
        return self.mark

    def _agent_remove(self, request: machine.AgentRemove, _report: Report | None) -> Nothing:
        if self.mark.panel not in ("", request.panel):
            raise AgentRefusal("in_use", f"The host is a node of another panel, {self.mark.panel_name}.")
        self.removed = True
        self.mark = machine.HostMark()
        return Nothing()
