"""The context of operations on VMs: the VM, its node, and readings of its status."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

from django.utils import timezone

from nodeagent.protocol import Request, host
from panel.cluster.nodes import Agent
from panel.core.errors import Busy, NotFound
from panel.storage.models import Volume
from panel.tasks.context import Context, P
from panel.tasks.models import Task, TaskStep
from panel.vms import services
from panel.vms.limits import OVER
from panel.vms.models import Vm


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

    def refuse_second(self, *also: str, **reserved: int) -> None:
        """Raise Busy while the same is asked for already: it could not even wait. For the step that reserves.

        `also` are other operations that do the same. `reserved` narrows it down to tasks of which a step's output has
        these values. Of two who ask at once, the second sees the task of the first.
        """
        Vm.objects.select_for_update().get(pk=self.vm.pk)
        operations = {self.task.operation, *also}
        same = Task.objects.filter(operation__in=operations, object_type="vm", object_id=self.vm.pk)
        if reserved:
            steps = TaskStep.objects.filter(**{f"output__{name}": value for name, value in reserved.items()})
            same = same.filter(pk__in=steps.values("task"))
        if (other := same.exclude(status__in=OVER).first()) is not None:
            raise Busy(task=other.pk, operation=other.operation, object="vm", id=self.vm.pk)

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
