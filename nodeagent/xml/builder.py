"""XML elements as classes whose attributes are declared, one line each.

The same class reads, edits and writes. What a class does not declare survives untouched. Values are
set through ElementTree, which escapes them; no XML is ever put together from strings. The idea is
that of virtinst's xmlbuilder.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any, Callable, Generic, Iterator, List, Optional, Tuple, Type, TypeVar, overload

# QEMU's own options stand in a namespace; libvirt's documentation writes it with this prefix.
ET.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")

E = TypeVar("E", bound="Element")
V = TypeVar("V")


class Property(Generic[V]):
    """One value at `path` below the element: "./vcpu" is a child's text, "./cpu/@mode" an attribute.

    Reading what is absent gives None; setting None removes it, and setting makes what the path needs.
    """

    @overload
    def __init__(self: Property[str], path: str) -> None: ...

    @overload
    def __init__(self, path: str, kind: Callable[[str], V]) -> None: ...

    def __init__(self, path: str, kind: Callable[[str], Any] = str) -> None:
        self.steps, self.attribute = _split(path)
        self.kind = kind

    def __get__(self, owner: Optional[Element], _type: Any = None) -> Optional[V]:
        assert owner is not None
        node = _find(owner.node, self.steps)
        if node is None:
            return None
        text = node.get(self.attribute) if self.attribute else node.text
        return None if text is None else self.kind(text)

    def __set__(self, owner: Element, value: Optional[V]) -> None:
        if value is None:
            self._remove(owner)
            return
        node = owner.node
        for step in self.steps:
            found = node.find(step)
            node = ET.SubElement(node, step) if found is None else found
        if self.attribute:
            node.set(self.attribute, _text(value))
        else:
            node.text = _text(value)

    def _remove(self, owner: Element) -> None:
        node = _find(owner.node, self.steps)
        if node is None:
            return
        if self.attribute:
            node.attrib.pop(self.attribute, None)
        elif self.steps:
            parent = _find(owner.node, self.steps[:-1])
            if parent is not None:
                parent.remove(node)


class Flag:
    """An element that says yes by being there, such as <acpi/>."""

    def __init__(self, path: str) -> None:
        self.steps, _ = _split(path)

    def __get__(self, owner: Optional[Element], _type: Any = None) -> bool:
        assert owner is not None
        return _find(owner.node, self.steps) is not None

    def __set__(self, owner: Element, value: bool) -> None:
        if value:
            node = owner.node
            for step in self.steps:
                found = node.find(step)
                node = ET.SubElement(node, step) if found is None else found
            return
        parent, flag = _find(owner.node, self.steps[:-1]), _find(owner.node, self.steps)
        if parent is not None and flag is not None:
            parent.remove(flag)


class Children(Generic[E]):
    """The list of elements of one class at `path`; add() makes a new one."""

    def __init__(self, path: str, cls: Type[E]) -> None:
        steps, _ = _split(path)
        self.parents, self.tag, self.cls = steps[:-1], steps[-1], cls

    def __get__(self, owner: Optional[Element], _type: Any = None) -> ChildList[E]:
        assert owner is not None
        return ChildList(owner.node, self.parents, self.tag, self.cls)


class ChildList(Generic[E]):
    """A live view of the children; see Children."""

    def __init__(self, node: ET.Element, parents: Tuple[str, ...], tag: str, cls: Type[E]) -> None:
        self._node, self._parents, self._tag, self._cls = node, parents, tag, cls

    def __iter__(self) -> Iterator[E]:
        parent = _find(self._node, self._parents)
        return iter([] if parent is None else [self._cls(node) for node in parent.findall(self._tag)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, index: int) -> E:
        return list(iter(self))[index]

    def add(self, **values: Any) -> E:
        """Append a new child with these properties set, in this order."""
        parent = self._node
        for step in self._parents:
            found = parent.find(step)
            parent = ET.SubElement(parent, step) if found is None else found
        child = self._cls(ET.SubElement(parent, self._tag))
        child.set(**values)
        return child


class Element:
    """Base of the classes; `TAG` is the element's name."""

    TAG = ""

    def __init__(self, node: Optional[ET.Element] = None) -> None:
        self.node = ET.Element(self.TAG) if node is None else node

    @classmethod
    def parse(cls: Type[E], text: str) -> E:
        """The element that `text` holds."""
        return cls(ET.fromstring(text))

    def set(self, **values: Any) -> None:
        """Set several properties; a name that is not declared is a programming error."""
        for name, value in values.items():
            if name not in self.declared():
                raise AttributeError(f"{type(self).__name__} declares no {name}")
            setattr(self, name, value)

    @classmethod
    def declared(cls) -> List[str]:
        """Names of the declared properties."""
        kinds = (Property, Flag, Children)
        return [name for parent in cls.__mro__ for name, value in vars(parent).items() if isinstance(value, kinds)]

    def to_xml(self) -> str:
        """The element as indented text."""
        copy = ET.fromstring(ET.tostring(self.node))
        ET.indent(copy)
        return ET.tostring(copy, encoding="unicode") + "\n"


def yes_no(text: str) -> bool:
    """libvirt's yes and no (and on and off) as a boolean."""
    return text in ("yes", "on")


def _split(path: str) -> Tuple[Tuple[str, ...], str]:
    steps = [step for step in path.split("/") if step not in ("", ".")]
    if steps and steps[-1].startswith("@"):
        return tuple(steps[:-1]), steps[-1][1:]
    return tuple(steps), ""


def _find(node: ET.Element, steps: Tuple[str, ...]) -> Optional[ET.Element]:
    for step in steps:
        found = node.find(step)
        if found is None:
            return None
        node = found
    return node


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
