"""Every operation on a network, one line each; a new one is added here."""

from panel.network.operations.add import AddNetwork
from panel.network.operations.addresses import ChangeAddress, ImportAddresses
from panel.network.operations.change import ChangeNetwork
from panel.network.operations.node_links import AddLink, RemoveLink
from panel.network.operations.ranges import ChangeRange
from panel.network.operations.remove import RemoveNetwork
from panel.network.operations.reserve import ReleaseAddress, ReserveAddress
from panel.network.operations.subnets import AddSubnet, ChangeSubnet, RemoveSubnet

ALL = (
    AddNetwork,
    ChangeNetwork,
    RemoveNetwork,
    AddSubnet,
    ChangeSubnet,
    RemoveSubnet,
    ReserveAddress,
    ReleaseAddress,
    ChangeRange,
    ChangeAddress,
    ImportAddresses,
    AddLink,
    RemoveLink,
)
