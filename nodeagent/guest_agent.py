"""The conversation with the agent inside a guest."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional

from nodeagent import libvirtd

SECONDS = 5


def answers(domain: Any) -> bool:
    """Whether the guest agent of the running domain does; raises libvirtError."""
    libvirt = libvirtd.bindings()
    silent = (
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_INVALID,
        # The test driver has no agents.
        libvirt.VIR_ERR_NO_SUPPORT,
    )
    try:
        ask(domain, "guest-ping", {})
    except libvirt.libvirtError as error:
        if error.get_error_code() in silent:
            return False
        raise
    return True


def interface_with(domain: Any, mac: str) -> Optional[Dict[str, Any]]:
    """What the guest agent tells of the guest's interface with this MAC address, None for none; raises libvirtError."""
    there = ask(domain, "guest-network-get-interfaces", {})
    return next((each for each in there if str(each.get("hardware-address", "")).lower() == mac.lower()), None)


def ask(domain: Any, command: str, arguments: Dict[str, Any], seconds: int = SECONDS) -> Any:
    """What the guest agent answers within so many seconds; raises libvirtError."""
    import libvirt_qemu

    text = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, text, seconds, 0))["return"]
