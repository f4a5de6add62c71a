"""The tables of the monitoring app, by what they are about."""

from panel.monitoring.models.interfaces import NodeInterfaces
from panel.monitoring.models.keys import WatchKeys
from panel.monitoring.models.statistics import RolledUp, Step, Unread, VmCounters, VmTraffic, VmUsage, WaitingStatistics
from panel.monitoring.models.watch import MasterWatch, NodeWatch

__all__ = [
    "MasterWatch",
    "NodeInterfaces",
    "NodeWatch",
    "RolledUp",
    "Step",
    "Unread",
    "VmCounters",
    "VmTraffic",
    "VmUsage",
    "WaitingStatistics",
    "WatchKeys",
]
