"""What is told to those who do not see nodes: the same, without any node's name or address.

Titles, logs and errors are written for whoever runs the cluster, and read by the owners of VMs too; so every door
passes them through a Redaction of its viewer. For who has the right cluster.view it lets everything through.

A Text has its nodes in fields, which are left out (core/wording.py): no sentence of ours is searched. Searched for
nodes' names is what has no fields: sentences that earlier releases stored as English alone, what other programs said
(values of Texts), and the values of results, of errors' data and of the journal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from panel.cluster.models import Node
from panel.core import permissions
from panel.core.errors import CapacityError, PanelError, shown
from panel.core.wording import Text, of_row, translated

HIDDEN = frozenset({"node", "candidates"})
"""Fields of errors, results and parameters that are nodes' names; in others they are replaced."""
NEVER_NODES = frozenset({"name", "hostname", "owner"})
"""Fields of what customers are told that name a VM, a token or a person, who may be called as a node is."""
_MEANT_OTHERWISE = (
    r"\b(?:Rename|Clone|Give) VM [a-z0-9-]+ to [\w.@+-]+"
    r"|\bVM (?:“[^”]*”|[a-z0-9-]+(?![\w-]|\.\w))"
    r"|\bsnapshot “[^”]*”"
    r"|\b(?:Import|Take over) domain \S+"
)
"""Where a name stands that is no node's in what earlier releases stored, whatever nodes are called."""
_MIGRATE = re.compile(r"\b(Migrate VM [a-z0-9-]+ to) \S+")
"""The title of a migration by an earlier release; its node may be one that is no more."""
_QUOTED = re.compile(r"\b([Nn]ode) “[^”]*”")
"""How earlier releases' errors, and agents, name a node; it may be one that is no more."""
_WORKER = re.compile(r"The worker \S+ was lost (.*); taken over by \S+\.")
_NOTHING = re.compile(r"(?P<other>(?!))")


def known_names() -> re.Pattern[str]:
    """All nodes' names and addresses, as words, beside what is meant otherwise (the group `other`); one query."""
    words = {word for pair in Node.objects.values_list("name", "address") for word in pair if word}
    if not words:
        return _NOTHING
    # The longest first: an address may begin with a name.
    told = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?P<other>{_MEANT_OTHERWISE})|“?(?<![\w.-])(?:{told})(?![\w-]|\.\w)”?")


def _told(found: re.Match[str]) -> str:
    return found[0] if found["other"] else "a node"


class Redaction:
    """Between what is stored and one viewer. The nodes' names are read when the first text passes."""

    def __init__(self, viewer: permissions.Viewer, names: re.Pattern[str] | None = None) -> None:
        self.is_on = not permissions.allows(viewer, "cluster.view")
        self._names = names

    def read_names(self) -> None:
        """Read the nodes' names now, where they are needed at all."""
        if self.is_on:
            self._names = known_names()

    def text(self, text: str) -> str:
        """A sentence without nodes' names."""
        if not self.is_on or not text:
            return text
        if self._names is None:
            self.read_names()
        assert self._names is not None
        plain = _WORKER.sub(r"The worker was lost \1; taken over by another.", _QUOTED.sub(r"\1", text))
        return self._names.sub(_told, _MIGRATE.sub(r"\1 a node", plain))

    def data(self, value: Any) -> Any:
        """What an error, a result or parameters hold, without nodes' names at any depth; a Text as shown()."""
        if isinstance(value, Text):
            return self.shown(value)
        if not self.is_on:
            return value
        if isinstance(value, dict):
            told = {name: each for name, each in value.items() if name not in HIDDEN}
            return {name: each if name in NEVER_NODES else self.data(each) for name, each in told.items()}
        if isinstance(value, list):
            return [self.data(each) for each in value]
        return self.text(value) if isinstance(value, str) else value

    def result(self, value: Any) -> Any:
        """A task's result as data(), with its sentences made (`text` of `text_said`, at any depth)."""
        return self.data(self._sentences(value))

    def _sentences(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._sentences(each) for each in value]
        if not isinstance(value, dict):
            return value
        told = self._with(value, "text") if "text_said" in value else value
        return {name: self._sentences(each) for name, each in told.items()}

    def error(self, error: PanelError) -> PanelError:
        """The same error, for the viewer's eyes, in the language that is in force."""
        told = self.stored_error(error.stored())
        error.message = told.pop("message")
        error.data = {name: value for name, value in told.items() if name != "code"}
        return error

    def shown(self, text: Text) -> str:
        """A title, note, line or other sentence for the viewer, in the language that is in force."""
        return text.shown(nodes=not self.is_on, foreign=self.text)

    def stored_error(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """A task's or a step's error, as shown()."""
        told = shown(stored, nodes=not self.is_on, foreign=self.text)
        message = told.pop("message")
        if self.is_on and told.get("code") == CapacityError.code and told.get("candidates"):
            # How much each node has free is no customer's business either.
            message = translated(CapacityError.sentence)
        return {"code": told.pop("code", ""), "message": message, **self.data(told)}

    def planned(self, steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The steps of a plan, as shown()."""
        return [{**self.data(dict(step)), **self._texts(step)} for step in steps]

    def _texts(self, step: Mapping[str, Any]) -> dict[str, str]:
        return {name: self.shown(each) for name, each in step.items() if isinstance(each, Text)}

    def event(self, event: dict[str, Any]) -> dict[str, Any]:
        """A live event, as shown(): a task's has a title, a note of its step and an error."""
        if event.get("topic") != "task":
            return event
        told = self._with(event, "title")
        if "result" in event:
            told["result"] = self.result(event["result"])
        if event.get("error"):
            told["error"] = self.stored_error(event["error"])
        if isinstance(event.get("step"), dict):
            told["step"] = self._with(event["step"], "text")
        return told

    def _with(self, told: dict[str, Any], field: str) -> dict[str, Any]:
        """With the sentence made, and nothing more of what it is made of."""
        text = of_row(str(told.get(field, "")), told.get(f"{field}_said"))
        return {**{name: each for name, each in told.items() if name != f"{field}_said"}, field: self.shown(text)}
