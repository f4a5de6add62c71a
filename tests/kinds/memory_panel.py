"""A kind of storage for tests: all that the panel needs of it."""

from __future__ import annotations

from pydantic import Field

from panel.core.validation import Params
from panel.storage.kinds import Can, Kind, register


class MemoryOptions(Params):
    """Which memory."""

    cell: str = Field(max_length=32, pattern=r"^[a-z0-9]+$", description="What is one storage.")


@register
class MemoryKind(Kind):
    """Memory."""

    name = "memory"
    label = "Memory"
    options = MemoryOptions
    can = frozenset(Can)
