"""Requests and results on their way to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.protocol import REQUESTS, BadMessage, Fence, Nothing, from_dict, host, network, storage, to_dict
from nodeagent.protocol import node as machine
from tests.refs import ref

SPEC = host.DomainSpec(
    uuid="u",
    name="n",
    memory_mib=1,
    vcpus=1,
    virt="qemu",
    disks=[host.DiskSpec(volume=ref("/p"), format="raw", target="vda")],
    interfaces=[],
)


def strategy(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a declared kind."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return st.one_of(st.none(), st.text(max_size=10), st.integers(), st.lists(st.text(max_size=5), max_size=3))
    if origin is typing.Union:
        return st.one_of(*(strategy(arg) for arg in args))
    if origin is list:
        return st.lists(strategy(args[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), strategy(args[1]), max_size=3)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = {field.name: strategy(hints[field.name]) for field in dataclasses.fields(kind)}
        return st.builds(kind, **fields)
    if kind is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    return {
        str: st.text(max_size=10),
        int: st.integers(),
        bool: st.booleans(),
        type(None): st.none(),
    }[kind]


@pytest.mark.parametrize("command", sorted(REQUESTS))
@given(data=st.data())
def test_every_request_and_result_survives_json(command: str, data: st.DataObject) -> None:
    request_class = REQUESTS[command]
    for kind in (request_class, request_class.RESULT):
        value = data.draw(strategy(kind))
        assert from_dict(kind, json.loads(json.dumps(to_dict(value)))) == value


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        (host.HostStart, {}, "uuid"),
        (host.HostStart, {"uuid": None}, "uuid"),
        (host.HostStart, {"uuid": 7}, "uuid"),
        (host.HostStart, {"uuid": "u", "force": True}, "force"),
        (host.HostStart, [], ""),
        (host.HostCreate, {"spec": {**to_dict(SPEC), "memory_mib": "1"}}, "spec.memory_mib"),
        (host.HostCreate, {"spec": {**to_dict(SPEC), "memory_mib": True}}, "spec.memory_mib"),
        (
            host.HostCreate,
            {"spec": {**to_dict(SPEC), "disks": [{"volume": to_dict(ref("/p"))}]}},
            "spec.disks.0.format",
        ),
        (host.HostCreate, {"spec": {**to_dict(SPEC), "disks": {}}}, "spec.disks"),
        (network.BridgeEnsure, {"name": "b", "gateway": "g", "subnet": "s", "nat": 1}, "nat"),
        (storage.PoolFiles, {"files": []}, "files"),
        (Fence, {"task": 1.5, "number": 1}, "task"),
    ],
)
def test_a_message_of_another_shape_names_the_field(kind: type, data: Any, field: str) -> None:
    with pytest.raises(BadMessage) as caught:
        from_dict(kind, data)
    assert caught.value.field == field


def test_what_has_a_default_may_be_absent() -> None:
    assert from_dict(machine.NodeProbe, {}) == machine.NodeProbe(timeout_seconds=8.0)
    assert from_dict(Nothing, {}) == Nothing()


def test_a_whole_number_is_a_number_of_seconds() -> None:
    assert from_dict(machine.NodeProbe, {"timeout_seconds": 3}).timeout_seconds == 3.0


def test_requests_that_only_read_are_known_as_such() -> None:
    reading = {name for name, request in REQUESTS.items() if not request.MUTATES}
    suffixes = (
        "_info",
        "_read",
        "_list",
        "_status",
        "_facts",
        "_probe",
        "_wait",
        "_audit",
        "_check",
        "_describe",
        "_picture",
    )
    assert reading == {name for name in REQUESTS if name.endswith(suffixes)}
