"""Where a disk's or drive's content is, in libvirt's terms: the type of the disk and the attributes of its source.

Which they are for a volume is chosen by the driver of its storage (nodeagent/storage).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Any, Dict, Optional

from nodeagent.xml.builder import Element, Property


@dataclass(frozen=True)
class DiskSource:
    """A disk's type ("file", "block", "network") and its source's attributes."""

    type: str
    attributes: Dict[str, str] = field(hash=False)

    @property
    def file(self) -> Optional[str]:
        """The file or device of the node that it is; None where it is none."""
        return self.attributes.get("file") or self.attributes.get("dev")

    @property
    def place(self) -> str:
        """The same in one line, for people and comparisons."""
        return self.file or " ".join(f"{key}={value}" for key, value in sorted(self.attributes.items()))


def read(kind: str, node: ET.Element) -> Optional[DiskSource]:
    """What a <source> says; None for nothing."""
    # libvirt numbers the sources of a running domain.
    told = {key: value for key, value in node.attrib.items() if value and key != "index"}
    return DiskSource(kind, told) if told else None


class SourceProperty(Property[DiskSource]):
    """The <source> of a disk; setting it sets the disk's type too, None empties it."""

    def __init__(self) -> None:
        super().__init__("./source", lambda text: DiskSource("file", {"file": text}))

    def __get__(self, owner: Optional[Element], _type: Any = None) -> Optional[DiskSource]:
        assert owner is not None
        node = owner.node.find("source")
        return None if node is None else read(owner.node.get("type", "file"), node)

    def __set__(self, owner: Element, value: Optional[DiskSource]) -> None:
        node = owner.node.find("source")
        if value is None:
            if node is not None:
                owner.node.remove(node)
            return
        owner.node.set("type", value.type)
        node = ET.SubElement(owner.node, "source") if node is None else node
        node.attrib.clear()
        node.attrib.update(value.attributes)
