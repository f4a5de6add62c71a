"""Settings of the kernel's network that are the host's, changed while networks need them, and then as they were."""

from __future__ import annotations

from nodeagent import hostnet, libvirtd, memory, paths


def have(name: str, value: str, bridge: str) -> None:
    """The setting (hostnet.sysctl) has the value while the network of the bridge, or another one, needs it."""
    with memory.changing(paths.KERNEL_SETTINGS) as known:
        before = hostnet.sysctl(name)
        there = known.get(name)
        if there is None or there["boot"] != libvirtd.boot_id():
            there = known[name] = {"before": before, "boot": libvirtd.boot_id(), "by": []}
        if bridge not in there["by"]:
            there["by"].append(bridge)
        hostnet.sysctl(name, value)


def give_back(bridge: str) -> None:
    """The network of the bridge needs none any more; what no other one needs is as it was."""
    with memory.changing(paths.KERNEL_SETTINGS) as known:
        for name, there in list(known.items()):
            if bridge not in there["by"]:
                continue
            there["by"].remove(bridge)
            if not there["by"]:
                del known[name]
                if there["boot"] == libvirtd.boot_id():
                    hostnet.sysctl(name, there["before"])
