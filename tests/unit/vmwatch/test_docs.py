"""docs/vmwatch.md tells of every field, parameter, state, exit code and reason."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from vmwatch import config, journal, master, order, outbox, panel_client, spool, wire

TEXT = (Path(__file__).parents[3] / "docs/vmwatch.md").read_text(encoding="utf-8")


def table(heading: str) -> list[str]:
    """The first words of the rows of the first table after `heading`."""
    rows = TEXT.split(heading, 1)[1].split("|\n\n", 1)[0]
    cells = re.findall(r"^\| ([^|]+) \|", rows, re.MULTILINE)[1:]
    return [word.strip("`") for cell in cells for word in cell.split(", ")]


def names(cls: type) -> set[str]:
    """A dataclass' fields."""
    return {field.name for field in dataclasses.fields(cls)}


def test_every_field_stands_there() -> None:
    assert set(table("One ZeroMQ message")) == names(wire.Message)
    assert set(table("and of each domain:")) == names(wire.DomainState)
    assert set(table("The counters of a domain")) == names(wire.DomainStatistics)
    assert set(table("Of each network interface, as")) == names(wire.LinkState)
    for cls in (wire.PastEvent, wire.DiskStatistics, wire.InterfaceStatistics):
        assert all(f"`{name}`" in TEXT for name in names(cls))


def test_every_parameter_stands_there() -> None:
    assert set(table("`vmwatch-master.conf`, in")) == names(config.MasterConfig)
    assert set(table("`/etc/vmpanel/vmwatch-node.conf`:")) == names(config.NodeConfig)


def test_every_state_and_kind_stands_there() -> None:
    states = TEXT.split("States: ", 1)[1].split("\n\n", 1)[0]
    assert set(wire.SEEN_STATES) <= set(re.findall(r"`([^`]+)`", states))
    assert all(f"`{kind}`" in TEXT for kind in wire.KINDS)


def test_every_exit_code_stands_there() -> None:
    codes = {0, master.BAD_CONFIG, master.DISABLED, master.CANNOT_LISTEN, 3}
    assert {int(code) for code in table("such case")} == codes


def test_the_numbers_are_those_in_force() -> None:
    for number in (outbox.WAITING, spool.WAITING, master.BATCH):
        assert f"{number:,} messages" in TEXT
    assert f"at most {journal.TOLD_AGAIN:,} |" in TEXT
    assert f"{wire.CLOCK_WINDOW_SECONDS:g} seconds" in TEXT
    assert f"{wire.LARGEST_MESSAGE >> 20} MiB" in TEXT
    assert f"{config.RESYNC_SECONDS:g} when absent" in TEXT
    assert panel_client.PATH in TEXT and panel_client.SIGNATURE_HEADER in TEXT


def test_the_example_is_a_message() -> None:
    body = TEXT.split("An example body:", 1)[1].split("\n\n", 2)[1]
    assert wire.from_body(body.encode()).domains == [wire.DomainState(**json.loads(body)["domains"][0])]


def test_every_reason_stands_there() -> None:
    reasons = set(table("What is not believed"))
    source = "".join(Path(each.__file__).read_text() for each in (wire, order, master)).replace("\n", " ")
    used = set(re.findall(r'Refused\("([a-z]+)"', source)) | set(re.findall(r'self\.refused\["([^"]+)"\]', source))
    assert used == reasons
