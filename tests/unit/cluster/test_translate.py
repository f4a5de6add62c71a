"""The agent's errors become the panel's in one place, and only those worth another try say so."""

from __future__ import annotations

import time
from typing import Any, cast

import paramiko
import pytest

from nodeagent import errors
from panel.cluster import ssh
from panel.cluster.client import NodeAddress
from panel.cluster.session import translate
from panel.core.errors import CommandFailed, Fenced, LibvirtFailure, NodeError, NodeTimeout, NodeUnreachable

CODES = {cls.code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.AgentError)}


def translated(code: str, **data: Any) -> Any:
    """The panel's error."""
    return translate({"code": code, "message": "It broke.", "data": data}, "n1", "host_start", 30.0)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_of_the_agent_becomes_an_error_of_the_node(code: str) -> None:
    error = translated(code)
    assert isinstance(error, NodeError)
    assert error.data["node"] == "n1"
    assert error.message


def test_libvirt_s_refusal_keeps_its_code_and_text() -> None:
    error = translated("libvirt", libvirt_code=9, connection_lost=False)
    assert isinstance(error, LibvirtFailure)
    assert (error.data["libvirt_code"], error.data["text"], error.retriable) == (9, "It broke.", False)


def test_a_libvirtd_that_was_away_may_be_tried_again() -> None:
    assert translated("libvirt", connection_lost=True).retriable


def test_a_passed_deadline_names_command_and_seconds() -> None:
    error = translated("deadline")
    assert isinstance(error, NodeTimeout)
    assert (error.data["command"], error.data["seconds"], error.retriable) == ("host_start", 30.0, True)


def test_a_later_holder_means_that_this_one_must_stop() -> None:
    assert isinstance(translated("fenced", seen=4), Fenced)


def test_an_agent_that_was_ended_is_as_good_as_unreachable() -> None:
    error = translated("cancelled")
    assert isinstance(error, NodeUnreachable)
    assert error.retriable


@pytest.mark.parametrize("code", ["no_space", "in_use", "guest_stopped", "internal", "of_a_later_agent"])
def test_any_other_code_is_kept_for_the_caller_to_act_on(code: str) -> None:
    error = translated(code)
    assert isinstance(error, CommandFailed)
    assert (error.data["agent_code"], error.data["text"], error.retriable) == (code, "It broke.", False)


def test_an_error_without_anything_is_still_an_error() -> None:
    assert isinstance(translate({}, "n1", "host_start", 1.0), CommandFailed)


def test_bytes_that_arrived_damaged_may_be_sent_again() -> None:
    error = translated("corrupt")
    assert isinstance(error, CommandFailed)
    assert error.retriable


def test_a_timeout_of_ssh_itself_tells_the_true_time() -> None:
    connection = ssh.Connection(NodeAddress(name="n1", address="192.0.2.1"), cast(paramiko.Transport, None))
    with pytest.raises(NodeTimeout) as caught, connection.translated("answer"):
        time.sleep(0.06)
        raise TimeoutError
    seconds = caught.value.data["seconds"]
    assert seconds >= 0.1
    assert caught.value.message == f"“ssh: answer” on the node “n1” did not end within {seconds:g} s."
    whole = NodeTimeout(node="n1", command="hello", seconds=20.0)
    assert whole.message == "“hello” on the node “n1” did not end within 20 s."
