"""Every operation of the monitoring app, one line each; a new one is added here."""

from panel.monitoring.operations.configure import ConfigureVmwatch
from panel.monitoring.operations.settle import SettleVm

ALL = (ConfigureVmwatch, SettleVm)
