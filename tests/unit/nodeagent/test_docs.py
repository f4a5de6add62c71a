"""docs/nodeagent.md tells of every command, parameter and error."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from nodeagent import errors
from nodeagent.protocol import PROTOCOL_VERSION, REQUESTS

TEXT = (Path(__file__).parents[3] / "docs/nodeagent.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(REQUESTS))
def test_every_command_stands_there_with_its_parameters_and_whether_it_only_reads(command: str) -> None:
    request = REQUESTS[command]
    (row,) = re.findall(rf"^\| `{command}`(.*)$", TEXT, re.MULTILINE)
    assert row.startswith(" ·") != request.MUTATES
    assert re.findall(r"`(\w+)`", row.split("|")[1]) == [field.name for field in dataclasses.fields(request)]
    assert f"`{request.RESULT.__name__}`" in row


def test_every_error_code_stands_there() -> None:
    codes = {cls.code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.AgentError)}
    assert codes <= set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))


def test_the_protocol_version_is_the_present_one() -> None:
    assert f'{{"hello": {{"protocol": {PROTOCOL_VERSION}, "panel"' in TEXT
