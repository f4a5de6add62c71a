"""Every operation on a VM, one line each; a new one is added here."""

from panel.vms.operations.addresses import AddAddress, RemoveAddress
from panel.vms.operations.autostart import AutostartVm
from panel.vms.operations.change_owner import ChangeOwner
from panel.vms.operations.clone import CloneVm
from panel.vms.operations.configure import ConfigureVm
from panel.vms.operations.configure_guest import ConfigureGuest
from panel.vms.operations.create import CreateVm
from panel.vms.operations.delete import DeleteVm
from panel.vms.operations.discard_saved import DiscardSaved
from panel.vms.operations.disks import AddDisk, ChangeDisk, GrowDisk, RemoveDisk
from panel.vms.operations.evacuate import EvacuateNode
from panel.vms.operations.finish_install import FinishInstall
from panel.vms.operations.import_domain import ImportDomain
from panel.vms.operations.interfaces import AddInterface, ChangeInterface, RemoveInterface
from panel.vms.operations.isos import EjectIso, MountIso
from panel.vms.operations.lost_snapshots import AdoptSnapshot, ForgetSnapshot
from panel.vms.operations.migrate import MigrateVm
from panel.vms.operations.pause import PauseVm, ResetVm, ResumeVm
from panel.vms.operations.port_forwards import AddPortForward, RemovePortForward
from panel.vms.operations.power import ForceOffVm, RestartVm, StartVm, StopVm
from panel.vms.operations.reinstall import ReinstallVm
from panel.vms.operations.rename import RenameVm
from panel.vms.operations.rescue import EndRescue, RescueVm
from panel.vms.operations.security_groups import AddGroup, ApplyGroup, ChangeGroup, RemoveGroup, SetSecurityGroups
from panel.vms.operations.settle_drift import AdoptVm, RepairVm
from panel.vms.operations.snapshots import DeleteSnapshot, RevertSnapshot, TakeSnapshot
from panel.vms.operations.suspend import KeepOffVm, SuspendVm, UnsuspendVm

ALL = (
    CreateVm,
    DeleteVm,
    StartVm,
    StopVm,
    ForceOffVm,
    RestartVm,
    PauseVm,
    ResumeVm,
    ResetVm,
    DiscardSaved,
    AutostartVm,
    SuspendVm,
    UnsuspendVm,
    KeepOffVm,
    TakeSnapshot,
    RevertSnapshot,
    DeleteSnapshot,
    ForgetSnapshot,
    AdoptSnapshot,
    FinishInstall,
    ConfigureVm,
    RepairVm,
    AdoptVm,
    *(AddDisk, GrowDisk, RemoveDisk, ChangeDisk, MountIso, EjectIso),
    *(AddInterface, RemoveInterface, ChangeInterface, SetSecurityGroups),
    *(AddAddress, RemoveAddress),
    *(AddPortForward, RemovePortForward),
    *(AddGroup, ChangeGroup, RemoveGroup, ApplyGroup),
    RenameVm,
    ChangeOwner,
    ReinstallVm,
    ConfigureGuest,
    CloneVm,
    RescueVm,
    EndRescue,
    MigrateVm,
    EvacuateNode,
    ImportDomain,
)
