"""The context of operations on VMs: the VM, its node, and readings of its status."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

from django.utils import timezone

from nodeagent.protocol import Request, host
from panel.cluster.nodes import Agent
from panel.core.errors import NotFound
from panel.storage.models import Volume
from panel.tasks import reservations
from panel.tasks.context import Context, P
from panel.vms import services
from panel.vms.models import Vm

CHANGE = "change"
"""The resource that a change of an object claims."""


class VmContext(Context[P]):
    """What a step of a VM's operation sees besides its parameters."""

    @cached_property
    def vm(self) -> Vm:
        """The VM; raises NotFound when it was deleted meanwhile."""
        vm = self.find_vm()
        if vm is None:
            raise NotFound(object="vm", id=self.task.object_id)
        return vm

    def look_again(self) -> Vm:
        """The VM as its row is now: others than its task change it too, and `vm` is as this worker first read it."""
        self.__dict__.pop("vm", None)
        return self.vm

    def find_vm(self) -> Vm | None:
        """The VM, or None when its records are gone (an undo may have removed them before)."""
        vms = Vm.objects.select_related("node__cluster", "pool", "image", "owner")
        return vms.filter(pk=self.task.object_id or 0).first()

    def find_object(self) -> Vm | None:
        """The VM."""
        return self.find_vm()

    def claim(self, kind: str, object_id: int, what: str = CHANGE) -> None:
        """Have that of an object of the VM for this task alone until it ends; for the step that reserves.

        Raises Busy while another task has it: it could not even wait, since what it would go back to is what the other
        makes of it. Of two who ask at once the second sees what the first has reserved.
        """
        Vm.objects.select_for_update().get(pk=self.vm.pk)
        reservations.refuse_held(kind, object_id, what, but=self.task.pk)
        self.reserve(kind, object_id, **{what: 1})

    def volumes(self) -> list[Volume]:
        """The volumes of the VM's disks, in their order."""
        return [disk.volume for disk in self.vm.disks.select_related("volume__pool")]

    @cached_property
    def agent(self) -> Agent:
        """The VM's node."""
        return Agent(self.vm.node, self)

    def lock_id(self, kind: str) -> int | None:
        """Ids of what an operation on the VM may lock: the VM, its node, its pool."""
        if kind == "vm":
            return self.task.object_id
        # As it was checked a moment ago, in the same transaction.
        found = self.__dict__.get("vm") or self.find_vm()
        if found is None:
            return None
        return {"node": found.node_id, "pool": found.pool_id, "cluster": found.cluster_id}.get(kind)

    def read_state(self, request: Request[host.HostState], *, deadline: float = 60.0) -> host.HostState:
        """Have the node carry out a power command, and record the state that it answers."""
        sent_at: datetime = timezone.now()
        state = self.agent.call(request, deadline=deadline)
        if state.exists:
            services.record_task_reading(
                self.vm.pk,
                state.state,
                sent_at=sent_at,
                node=self.vm.node,
                task_id=self.task.pk,
                clock=state.clock,
                boot=state.boot,
            )
        return state
