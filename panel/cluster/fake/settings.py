"""What domains are described as: changed, compared, repaired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nodeagent import storage as storages
from nodeagent.protocol import audit, host
from nodeagent.protocol.settings import Difference
from nodeagent.xml import edit, facts
from nodeagent.xml.describe import domain_of
from panel.cluster.client import Report
from panel.cluster.fake.described import changed_settings
from panel.cluster.fake.snapshots import Snapshots
from panel.cluster.fake.state import STATES_ON, AgentRefusal, FakeDomain
from panel.cluster.fake.volumes import Volumes


class Settings(Snapshots, Volumes):
    """Descriptions, and what waits for the next start."""

    def _host_configure(self, request: audit.HostConfigure, _report: Report | None) -> audit.Configured:
        there, names = self._domain(request.spec.uuid), list(edit.SETTINGS)
        self._refuse_saved(there)
        if request.before is not None:
            names = [name for name in edit.touched(request.before, request.spec) if name in edit.SETTINGS]
            self._refuse_drift(there.spec, request.before, request.spec, names)
        # Devices are other commands' matter.
        domain = self._define(changed_settings(there.spec, request.spec, names))
        if domain.running is not None:
            domain.running = _changed_live(domain.running, domain.spec)
        return audit.Configured(pending=self._pending(domain))

    def _host_repair(self, request: audit.HostRepair, _report: Report | None) -> audit.Configured:
        there = self._find(request.spec.uuid)
        if there is not None and not request.discard:
            self._refuse_newer(there, request.spec)
        self._refuse_saved(there)
        places = [storages.place(disk.volume) for disk in request.spec.disks]
        gone = [Path(place).name for place in places if place not in self.files]
        if there is None and gone:
            raise AgentRefusal("invalid_params", audit.DISKS_GONE.format(", ".join(gone)), field="spec")
        if there is not None and there.spec.name != request.spec.name and there.state in STATES_ON:
            raise AgentRefusal("in_use", "A domain can be given its name back only while it is off.")
        self._filter_ports(request.spec.uuid, request.spec.interfaces)
        return audit.Configured(pending=self._pending(self._define(request.spec)))

    def _refuse_newer(self, there: FakeDomain, spec: host.DomainSpec) -> None:
        own, found = {disk.target: storages.place(disk.volume) for disk in spec.disks}, {}
        for disk in (*there.spec.disks, *there.now.disks):
            now = storages.place(disk.volume)
            path, other = own.get(disk.target, now), self.files.get(now)
            if path == now or other is None:
                continue
            first = self.files.get(path)
            if path in self._below(now) or first is None or other.changed_at >= first.changed_at:
                found[disk.target] = {"field": f"disk {disk.target}", "node": now, "stored": path}
        if found:
            names = ", ".join(each["field"] for each in found.values())
            text = f"Its description was changed by hand ({names})."
            raise AgentRefusal("drifted", text, differences=list(found.values()))

    def _hosts_audit(self, request: audit.HostsAudit, _report: Report | None) -> audit.Audit:
        specs = {spec.uuid: spec for spec in request.specs}
        found = [
            audit.Differing(uuid, _drift(domain, spec), self._pending(domain))
            for uuid, spec in specs.items()
            if (domain := self.domains.get(uuid)) is not None
        ]
        foreign = [
            audit.UnmanagedDomain(
                uuid,
                domain.spec.name,
                domain.state,
                domain.spec.memory_mib,
                domain.spec.vcpus,
                [storages.place(disk.volume) for disk in domain.spec.disks],
                [interface.mac for interface in domain.spec.interfaces],
                audit.UnmanagedDetails(
                    disks=[
                        replace(disk, volume=storages.at(storages.place(disk.volume))) for disk in domain.spec.disks
                    ],
                    interfaces=[
                        replace(interface, mac=interface.mac.lower(), guarded=False, addresses=[])
                        for interface in domain.spec.interfaces
                    ],
                    facts=_facts(domain.spec),
                    autostart=domain.spec.autostart,
                    snapshots=len(domain.snapshots),
                ),
            )
            for uuid, domain in self.domains.items()
            if uuid not in specs
        ]
        if not request.others:
            foreign = []
        differing = [each for each in found if each.drift or each.pending]
        kept = [
            audit.Kept(uuid, self._snapshots(domain))
            for uuid, domain in self.domains.items()
            if uuid in specs and domain.snapshots
        ]
        return audit.Audit(differing, [uuid for uuid in specs if uuid not in self.domains], foreign, kept)

    def _pending(self, domain: FakeDomain) -> list[audit.Difference]:
        if domain.state not in STATES_ON or domain.running is None:
            return []
        return facts.pending(_facts(domain.running), _facts(domain.spec))


def _drift(domain: FakeDomain, spec: host.DomainSpec) -> list[Difference]:
    found = facts.drift(_facts(domain.spec), _facts(spec))
    if not domain.persistent:
        return [*found, Difference("persistent", False, True)]
    same = domain.spec.autostart == spec.autostart
    return found if same else [*found, Difference("autostart", domain.spec.autostart, spec.autostart)]


def _facts(spec: host.DomainSpec) -> facts.Facts:
    return facts.facts_of(domain_of(spec))


def _changed_live(running: host.DomainSpec, spec: host.DomainSpec) -> host.DomainSpec:
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
