"""The guests' addresses that a node routes to its bridges: what is remembered of them, for networks of that kind."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set, Tuple

from nodeagent import memory, paths
from nodeagent.protocol.host import InterfaceSpec

Known = Dict[str, Any]
"""By VM, by bridge, addresses."""


def of(bridge: str) -> List[str]:
    """The addresses of guests on the bridge."""
    return sorted(_on(memory.read(paths.GUEST_ROUTES), bridge))


def change(
    vms: Mapping[str, Sequence[InterfaceSpec]], bridges: Iterable[str]
) -> Dict[str, Tuple[List[str], List[str]]]:
    """Of these VMs remember what they have on these bridges, and nothing else.

    Answers for each bridge on which that changed anything what guests have there now, and have no more.
    """
    asked, found = [*bridges], {}
    with memory.changing(paths.GUEST_ROUTES) as known:
        before = {each: _on(known, each) for each in asked}
        for vm, interfaces in vms.items():
            known.pop(vm, None)
            mine = {each.bridge: sorted(each.addresses) for each in interfaces if each.bridge in before}
            if mine:
                known[vm] = mine
        for each in asked:
            after = _on(known, each)
            if after != before[each]:
                found[each] = (sorted(after), sorted(before[each] - after))
    return found


def _on(known: Known, bridge: str) -> Set[str]:
    return {address for there in known.values() for address in there.get(bridge, ())}
