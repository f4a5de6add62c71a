"""The context of operations on networks."""

from __future__ import annotations

from panel.core.errors import NotFound
from panel.network.models import Network
from panel.tasks.context import Context, P


class NetworkContext(Context[P]):
    """What a step of a network's operation sees besides its parameters."""

    @property
    def network(self) -> Network:
        """The network as it stands now; raises NotFound when it was removed meanwhile."""
        if (network := self.find_object()) is None:
            raise NotFound(object="network", id=self.task.object_id)
        return network

    def find_object(self) -> Network | None:
        """The network, or None when its record is gone."""
        found = Network.objects.select_related("cluster").prefetch_related("subnets__ranges", "subnets__excluded")
        return found.filter(pk=self.task.object_id or 0).first()
