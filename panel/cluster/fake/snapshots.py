"""Snapshots."""

from __future__ import annotations

import re
from dataclasses import replace

from nodeagent.protocol import Nothing, host, snapshot
from panel.cluster.client import Report
from panel.cluster.fake.hosts import Hosts
from panel.cluster.fake.state import STATES_ON, AgentRefusal, FakeDomain, FakeSnapshot


class Snapshots(Hosts):
    """Snapshots of domains, as a tree."""

    def _snapshots_of(self, uuid: str, name: str) -> FakeDomain:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            text = "A snapshot is named by letters, digits, “_”, “.” and “-”."
            raise AgentRefusal("invalid_params", text, field="name")
        return self._domain(uuid)

    def _snapshot_state(self, domain: FakeDomain, name: str) -> snapshot.SnapshotState:
        kept = domain.snapshots[name]
        current = domain.current == name
        return snapshot.SnapshotState(
            name, True, kept.state, kept.with_memory, kept.parent, current, kept.external, kept.created_at
        )

    def _snapshots(self, domain: FakeDomain) -> list[snapshot.SnapshotState]:
        return [self._snapshot_state(domain, name) for name in domain.snapshots]

    def _snapshot_create(self, request: snapshot.SnapshotCreate, _report: Report | None) -> snapshot.SnapshotState:
        domain = self._snapshots_of(request.uuid, request.name)
        if request.name not in domain.snapshots:
            self._refuse_saved(domain)
            active = domain.state in STATES_ON
            if active and not request.with_memory:
                raise AgentRefusal("in_use", "A running VM's snapshot must have its memory.")
            if request.with_memory and not active:
                raise AgentRefusal("guest_stopped", "The VM does not run: it has no memory.", state=domain.state)
            if active and domain.now.settings.firmware == "uefi":
                raise AgentRefusal("in_use", snapshot.RUNNING_UEFI)
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
        self._refuse_saved(domain)
        last = domain.counters(self.boot)
        domain.state, domain.current = domain.snapshots[request.name].state, request.name
        domain.begin_run()
        last = replace(last, final=True) if last is not None else None
        return replace(self._state(request.uuid), counters=last)

    def _snapshots_read(self, request: snapshot.SnapshotsRead, _report: Report | None) -> snapshot.SnapshotList:
        return snapshot.SnapshotList(self._snapshots(self._domain(request.uuid)))
