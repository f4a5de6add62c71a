"""What a kind of storage says of itself."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar, TypeVar

from nodeagent.protocol.storage import PoolRef
from panel.core.validation import Params, parse


class Can(enum.StrEnum):
    """What volumes of a storage may be able to."""

    SNAPSHOTS = "snapshots"
    GROW_LIVE = "grow_live"
    THIN = "thin"
    CLONE_BY_REFERENCE = "clone_by_reference"
    COPY_LIVE = "copy_live"
    """Being the source or the target of a copy while its guest runs."""


Options = Mapping[str, str]
K = TypeVar("K", bound="type[Kind]")


class Kind:
    """A kind of storage. `options` are a pydantic model, whose descriptions are the help that people see."""

    name: ClassVar[str]
    label: ClassVar[str]
    options: ClassVar[type[Params]]
    shared: ClassVar[bool | None] = None
    """Whether all nodes see the same volumes in it; None: whoever adds one declares it."""
    formats: ClassVar[tuple[str, ...]] = ("qcow2", "raw")
    can: ClassVar[frozenset[Can]] = frozenset()
    """What its volumes can in one of their formats at least; see can_in()."""

    def checked(self, options: Mapping[str, object]) -> dict[str, str]:
        """The options as they are kept; raises InvalidValue and MissingValue with the option's name as the field."""
        return {name: str(value) for name, value in parse(self.options, options).model_dump().items()}

    def can_in(self, form: str) -> frozenset[Can]:
        """What volumes of this format can."""
        return self.can

    def clash(self, options: Options, other: Options) -> str:
        """The name of the option by which two storages of the kind would touch each other; "" where none does."""
        return ""

    def store(self, pool: PoolRef) -> PoolRef:
        """Where the files are of VMs on the pool that are no volumes: a directory of the node."""
        return PoolRef("dir", "", {"path": "/var/lib/vmpanel/files"})


KINDS: dict[str, Kind] = {}
"""All kinds by their names."""


def register(kind: K) -> K:
    """Class decorator: have the kind among those that storages can be of."""
    KINDS[kind.name] = kind()
    return kind
