"""Declared properties: the same class reads, edits and writes, and what it does not know survives."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from nodeagent.xml import domain as elements
from nodeagent.xml.builder import Children, Element, Flag, Property, yes_no

TEXT = """
<box xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0" id="7" open="yes" color="red">
  <label lang="en">old</label>
  <unknown depth="3"><inner>kept</inner></unknown>
  <lid/>
  <things>
    <thing name="a"/><other/><thing name="b"/>
  </things>
  <qemu:commandline><qemu:arg value="-x"/></qemu:commandline>
</box>
"""


class Thing(Element):
    TAG = "thing"
    name = Property("./@name")


class Box(Element):
    TAG = "box"
    id = Property("./@id", int)
    open = Property("./@open", yes_no)
    label = Property("./label")
    lang = Property("./label/@lang")
    deep = Property("./a/b/c")
    deep_size = Property("./a/b/c/@size", int)
    lid = Flag("./lid")
    handle = Flag("./parts/handle")
    things = Children("./things/thing", Thing)


def test_values_are_read_as_their_kinds() -> None:
    box = Box.parse(TEXT)
    assert (box.id, box.open, box.label, box.lang, box.lid) == (7, True, "old", "en", True)
    assert [thing.name for thing in box.things] == ["a", "b"]


def test_what_is_absent_is_none() -> None:
    box = Box()
    assert (box.id, box.open, box.label, box.deep, box.deep_size, box.lid, len(box.things)) == (*[None] * 5, False, 0)


def test_editing_one_value_leaves_everything_else() -> None:
    box = Box.parse(TEXT)
    box.label = "new"
    again = ET.fromstring(box.to_xml())
    assert again.findtext("label") == "new"
    assert again.find("label").attrib == {"lang": "en"}  # type: ignore[union-attr]
    assert again.findtext("unknown/inner") == "kept"
    assert [child.tag for child in again.find("things")] == ["thing", "other", "thing"]  # type: ignore[union-attr]
    assert again.get("color") == "red"
    assert "<qemu:arg" in box.to_xml()


def test_setting_makes_what_the_path_needs_and_none_removes_it() -> None:
    box = Box()
    box.deep_size = 3
    box.deep = "x"
    assert '<c size="3">x</c>' in box.to_xml()
    box.deep_size = None
    assert box.deep == "x"
    box.deep = None
    assert box.node.find("a/b/c") is None
    box.deep = None


def test_flags_come_and_go() -> None:
    box = Box()
    box.handle = True
    box.handle = True
    assert len(box.node.findall("parts/handle")) == 1
    box.handle = False
    box.handle = False
    assert not box.handle


def test_children_are_added_in_order_and_edited_in_place() -> None:
    box = Box.parse(TEXT)
    box.things.add(name="c")
    box.things[0].name = "first"
    assert [thing.name for thing in box.things] == ["first", "b", "c"]


@pytest.mark.parametrize("value", ["<&>\"'", "</label><evil/>", "&amp;", "straße", "a\tb"])
def test_a_value_is_never_markup(value: str) -> None:
    box = Box()
    box.label = value
    box.lang = value
    again = Box.parse(box.to_xml())
    assert again.label == value
    assert again.lang == value
    assert again.node.find("evil") is None


def test_booleans_are_yes_and_no() -> None:
    box = Box()
    box.open = False
    assert box.node.get("open") == "no"


def test_a_property_that_is_not_declared_is_a_mistake() -> None:
    with pytest.raises(AttributeError, match="no colour"):
        Box().set(colour="red")


def test_every_declared_property_of_every_element_can_be_written_and_read_back() -> None:
    classes = [value for value in vars(elements).values() if isinstance(value, type) and issubclass(value, Element)]
    for cls in classes:
        for name in cls.declared():
            kind = vars(cls)[name]
            element = cls()
            if isinstance(kind, Children):
                kind.__get__(element).add()
                assert len(kind.__get__(element)) == 1
                continue
            value = (
                True if isinstance(kind, Flag) or kind.kind is yes_no else 7 if kind.kind is int else kind.kind("text")
            )
            setattr(element, name, value)
            assert getattr(cls.parse(element.to_xml()), name) == value
