"""Bonds and VLANs of the host itself."""

from __future__ import annotations

from dataclasses import replace

from nodeagent import host_links
from nodeagent.protocol import Nothing, links
from panel.cluster.client import Report
from panel.cluster.fake.base import Node
from panel.cluster.fake.state import AgentRefusal
from panel.cluster.fake.volumes import refusing


class Links(Node):
    """What the panel makes of the host's interfaces; those are free of use, but for what networks go out by."""

    def _link_ensure(self, request: links.LinkEnsure, _report: Report | None) -> links.LinkMade:
        refusing(host_links.checked, request)
        if request.name in self.made_links:
            return links.LinkMade(request.name, self.trials.get(request.name, 0.0))
        if request.name in (*self.host_links, *self.host_bridges, *self.links):
            text = f"The host has an interface “{request.name}” of its own, which the panel did not make."
            raise AgentRefusal("exists", text)
        for each in request.ports or [request.parent]:
            if each not in self.host_links:
                raise AgentRefusal("no_such_interface", f"The host has no interface “{each}”.")
        for each in request.ports:
            if users := self._users_of(each):
                raise AgentRefusal("in_use", f"“{each}” is part of “{users[0]}” already.")
        if request.kind in self.unable:
            raise AgentRefusal("unsupported", f"The node's kernel has no {host_links.WHAT[request.kind]}.")
        self.made_links[request.name] = replace(request, trial_seconds=0.0)
        self.host_links.append(request.name)
        if request.trial_seconds:
            self.trials[request.name] = request.trial_seconds
        return links.LinkMade(request.name, request.trial_seconds)

    def _link_confirm(self, request: links.LinkConfirm, _report: Report | None) -> Nothing:
        if request.name not in self.made_links:
            raise AgentRefusal("undone", f"The interface “{request.name}” is not there to be confirmed.")
        self.trials.pop(request.name, None)
        return Nothing()

    def _link_remove(self, request: links.LinkRemove, _report: Report | None) -> Nothing:
        if request.name in self.made_links:
            if users := self._users_of(request.name):
                raise AgentRefusal("in_use", f"“{request.name}” is used by {', '.join(users)}.")
            self._forget_link(request.name)
        return Nothing()

    def _users_of(self, name: str) -> list[str]:
        """What lies upon the interface, or has it in it."""
        over = [each.name for each in self.made_links.values() if name in (each.parent, *each.ports)]
        return over + [each.name for each in self.bridges.values() if each.options.get("uplink") == name]

    def _forget_link(self, name: str) -> None:
        del self.made_links[name]
        self.host_links.remove(name)
        self.trials.pop(name, None)
