"""What an app registers as its part of a node is prepared, checked and removed with every node."""

from __future__ import annotations

import dataclasses

import pytest

from panel.cluster import part_steps, parts


def test_an_app_s_part_is_a_step_of_adding_and_removing_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_parts", dict(parts._parts))
    done: list[str] = []
    ours = parts.Part(
        prepare=lambda ctx: done.append("prepared"),
        remove=lambda ctx: done.append("removed"),
        check=lambda ctx: (),
        making=parts.PartStep("make_firewall", "Make the firewall"),
        removing=parts.PartStep("remove_firewall", "Remove the firewall"),
    )
    parts.register("firewall", ours)
    made, gone = part_steps.making(), part_steps.removing(lambda ctx: True)
    assert [each.name for each in made] == ["make_storages", "make_bridges", "configure_vmwatch", "make_firewall"]
    assert [each.name for each in gone] == ["remove_firewall", "remove_vmwatch", "remove_bridges", "remove_storages"]
    made[-1].run(None)
    gone[0].run(None)
    assert made[-1].undo is ours.remove and done == ["prepared", "removed"]


def test_a_part_of_a_host_that_is_another_panel_s_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_parts", dict(parts._parts))
    done: list[str] = []
    removing = parts.PartStep("remove_firewall", "Remove the firewall")
    ours = dataclasses.replace(parts.get("network"), remove=lambda ctx: done.append("removed"), removing=removing)
    parts.register("firewall", ours)
    part_steps.removing(lambda ctx: False)[0].run(None)
    assert done == []
