"""An order's whole life as a billing system asks for it, through whichever API: the tests of each give it a Door."""

from __future__ import annotations

from typing import Any, Protocol

PACKAGE, LARGER = "tiny", "small"
"""Flavors; the second has 1,024 MiB and a CPU."""


class Door(Protocol):
    """An API as a billing system uses it. What changes a VM returns once its end was told."""

    def create(self, name: str, package: str) -> int:
        """Order a VM, twice with the same key as one who got no answer does; answers the VM's id."""

    def suspend(self, vm: int) -> None:
        """The bill is not paid."""

    def resume(self, vm: int) -> None:
        """It is."""

    def change_package(self, vm: int, package: str) -> None:
        """The customer wants another size."""

    def reinstall(self, vm: int) -> None:
        """The customer wants the system anew."""

    def console_link(self, vm: int) -> str:
        """Where the customer's browser is sent to see the VM's screen."""

    def terminate(self, vm: int) -> None:
        """The order ends."""

    def is_there(self, vm: int) -> bool:
        """Whether there is such a VM."""

    def shown(self, vm: int) -> dict[str, Any]:
        """The VM's `status`, `memory_mib`, `vcpus`, and whether it is `suspended`."""

    def usage(self, vm: int) -> dict[str, Any]:
        """Since the order, seconds: `active`, `suspended` and `absent`, of the `period`; sizes of `memory`."""

    def time_passes(self) -> None:
        """At least a second."""


def whole_life(door: Door, name: str) -> None:
    """Create, suspend, resume, change the package, reinstall, look at the console, bill, terminate, bill again."""
    vm = door.create(name, PACKAGE)
    assert door.shown(vm) == {"status": "running", "memory_mib": 128, "vcpus": 1, "suspended": False}
    door.time_passes()

    door.suspend(vm)
    assert door.shown(vm) == {"status": "shut off", "memory_mib": 128, "vcpus": 1, "suspended": True}
    door.time_passes()
    door.resume(vm)
    assert door.shown(vm) == {"status": "running", "memory_mib": 128, "vcpus": 1, "suspended": False}
    door.time_passes()

    door.change_package(vm, LARGER)
    assert (door.shown(vm)["memory_mib"], door.shown(vm)["vcpus"]) == (1024, 1)
    door.time_passes()
    door.reinstall(vm)
    assert door.shown(vm)["status"] == "running"
    assert door.console_link(vm)
    # What waited for a start is had from then on.
    door.time_passes()

    before = door.usage(vm)
    assert before["memory"] == [128, 1024]
    assert before["active"] > 0 and before["suspended"] > 0
    door.time_passes()
    door.terminate(vm)
    assert not door.is_there(vm)
    door.time_passes()
    after = door.usage(vm)
    assert after["active"] > before["active"] and after["suspended"] == before["suspended"]
    assert after["absent"] > before["absent"]
    for told in (before, after):
        assert told["active"] + told["suspended"] + told["absent"] == told["period"]
