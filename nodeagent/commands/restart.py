"""Starting a service of the node anew. Guests are no part of any: they run on."""

from __future__ import annotations

from nodeagent import libvirt_start, services
from nodeagent.commands import handles, machine, vmwatch
from nodeagent.errors import InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import node


@handles(node.ServiceRestart)
def service_restart(request: node.ServiceRestart, job: Job) -> node.ServiceState:
    """Have the service running anew."""
    if request.service == node.VMWATCH_NODE:
        if not vmwatch.is_configured():
            raise InvalidParams("vmwatch-node is not configured on the node.", field="service")
        services.restart(vmwatch.NAME, vmwatch.argv(), job)
        pid = services.running_again(vmwatch.NAME, job)
    elif request.service == node.LIBVIRTD:
        pid = libvirt_start.restart(job)
        machine.wait_for_libvirt(job)
    else:
        raise InvalidParams(f"There is no service “{request.service}” to start anew.", field="service")
    return node.ServiceState(name=request.service, running=pid is not None, pid=pid)
