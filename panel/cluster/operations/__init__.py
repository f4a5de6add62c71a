"""Every operation on a node or the cluster, one line each; a new one is added here."""

from panel.cluster.operations.add import AddNode
from panel.cluster.operations.check import CheckNode
from panel.cluster.operations.forget import ForgetNode
from panel.cluster.operations.host_key import ReadHostKey
from panel.cluster.operations.maintenance import EndMaintenance, MaintainNode
from panel.cluster.operations.reconnect import ReconnectNode
from panel.cluster.operations.remove import RemoveNode
from panel.cluster.operations.services import RestartService

ALL = (
    ReadHostKey,
    AddNode,
    CheckNode,
    ReconnectNode,
    RemoveNode,
    ForgetNode,
    MaintainNode,
    EndMaintenance,
    RestartService,
)
