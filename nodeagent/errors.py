"""The agent's errors: a stable code, a sentence, data. They cross the wire as they are."""

from __future__ import annotations

from typing import Any, Dict


class AgentError(Exception):
    """Base of all; `code` is what the panel acts on."""

    code = "internal"

    def __init__(self, message: str, **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.data: Dict[str, Any] = data


class InvalidParams(AgentError):
    """The request's parameters cannot be accepted."""

    code = "invalid_params"


class UnknownCommand(AgentError):
    """There is no such command."""

    code = "unknown_command"


class NoSuchDomain(AgentError):
    """libvirt has no domain with this UUID."""

    code = "no_such_domain"


class LibvirtError(AgentError):
    """libvirt refused; data: libvirt_code, connection_lost."""

    code = "libvirt"


class CommandFailed(AgentError):
    """A program failed; data: argv0, exit_code, stderr (its tail)."""

    code = "command_failed"


class DeadlinePassed(AgentError):
    """The request did not end in time."""

    code = "deadline"


class Cancelled(AgentError):
    """The panel cancelled the request, or the conversation ended."""

    code = "cancelled"


class FencedOff(AgentError):
    """A later holder of the task has been here; data: seen."""

    code = "fenced"


class StillWorking(AgentError):
    """An earlier command of the same task has not ended yet, and cannot be ended: libvirt carries it out."""

    code = "still_working"


class NoSpace(AgentError):
    """The file system is full."""

    code = "no_space"


class NotMounted(AgentError):
    """What is at a pool's path is not the pool that was there; nothing was touched. Data: path."""

    code = "not_mounted"


class ReadOnly(AgentError):
    """The file system cannot be written to."""

    code = "read_only"


class BrokenStorage(AgentError):
    """The file system does not work."""

    code = "broken_storage"


class SystemRefused(AgentError):
    """The node's system let a file not be read or written as it must be: read-only, not permitted, a damaged disk."""

    code = "system"


class Exists(AgentError):
    """Something else is there already."""

    code = "exists"


class Undone(AgentError):
    """It was undone already, or would be confirmed by who did it."""

    code = "undone"


class NoSuchInterface(AgentError):
    """The host has no network interface of this name; data: name."""

    code = "no_such_interface"


class InUse(AgentError):
    """It cannot be removed while it is used."""

    code = "in_use"


class MemorySaved(AgentError):
    """libvirt keeps the domain's memory: it goes on from there, so nothing of it may be changed before."""

    code = "memory_saved"

    def __init__(self) -> None:
        super().__init__("Its memory is saved on the node: start it, or discard the memory, first.")


class Drifted(AgentError):
    """Somebody changed by hand what is to be changed; nothing was touched. Data: differences (field, node, stored)."""

    code = "drifted"


class Unsupported(AgentError):
    """The node's libvirt, QEMU or kernel, or a device of it, cannot do it; nothing was touched."""

    code = "unsupported"


class GuestStopped(AgentError):
    """The guest stopped while it was waited for; data: state."""

    code = "guest_stopped"


class NoSerial(AgentError):
    """The domain has no serial port."""

    code = "no_serial"


class SerialTaken(AgentError):
    """Somebody else has the domain's serial port."""

    code = "serial_taken"


class Corrupt(AgentError):
    """Bytes are not what their checksum says."""

    code = "corrupt"
