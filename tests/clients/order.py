"""A minimal order through the client that openapi-python-client makes of the schema."""

from vmpanel_client import AuthenticatedClient
from vmpanel_client.api.vms import vm_create
from vmpanel_client.models import Accepted, CreateVmParams


def place(url: str, token: str) -> int:
    """Order a VM; answers the task that makes it."""
    client = AuthenticatedClient(base_url=url, token=token)
    order = CreateVmParams(name="shop", image="debian-12", flavor="small")
    answer = vm_create.sync(client=client, body=order)
    if not isinstance(answer, Accepted):
        raise RuntimeError(str(answer))
    return answer.task.id
