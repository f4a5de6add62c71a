"""vmwatch-master as a process: what it believes, what waits with it, and how it ends."""

from __future__ import annotations

import signal
import time
import uuid

import zmq

from tests.contract.vmwatch_daemons import SECRET, WEB1, Daemons, event, forge, make_certificate, said, wait_until
from vmwatch import config, wire


def test_the_master_says_which_configuration_it_works_with(daemons: Daemons) -> None:
    pid_file = daemons.folder / "master.pid"
    mark = config.mark_of(pid_file)
    mark.write_text("of one that was killed")
    daemons.configure(disabled="yes")
    master = daemons.master("--wait", "--pid-file", str(pid_file))
    wait_until(pid_file.exists, "it runs")
    assert not mark.exists()

    def reads() -> None:
        wait_until(lambda: mark.exists() and mark.read_text() == config.digest(daemons.master_conf), "it says so")

    daemons.configure()
    reads()
    daemons.configure(secret="ANOTHER")
    master.send_signal(signal.SIGHUP)
    reads()
    before = mark.read_text()
    config.write(daemons.master_conf, {"listen": "nonsense"})
    master.send_signal(signal.SIGHUP)
    wait_until(lambda: "kept as it was" in daemons.log("master"), "it refuses the file")
    assert mark.read_text() == before
    daemons.configure(disabled="yes")
    master.send_signal(signal.SIGHUP)
    assert master.wait(10) == 4
    assert not mark.exists() and not pid_file.exists()


def test_a_disabled_master_ends_with_4_or_waits_until_it_is_enabled(daemons: Daemons) -> None:
    daemons.configure(disabled="yes")
    assert daemons.master().wait(10) == 4
    waiting = daemons.master("--wait")
    daemons.node()
    daemons.configure()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    daemons.configure(disabled="yes")
    waiting.send_signal(signal.SIGHUP)
    assert waiting.wait(10) == 4


def test_an_address_that_is_not_ours_is_said_and_ends_the_master_with_5(daemons: Daemons) -> None:
    daemons.configure(listen="tcp://192.0.2.1:1515")
    assert daemons.master().wait(10) == 5
    assert "cannot listen on tcp://192.0.2.1:1515" in daemons.log("master")


def test_nothing_but_proven_messages_passes_and_each_passes_once(daemons: Daemons) -> None:
    daemons.master()
    honest = [said(event(number, wire.RUNNING)) for number in (1, 2, 3)]
    body, proof = said(event(4, wire.CRASHED))
    forge(
        daemons.endpoint,
        [
            [b"noise"],
            [b"", b"", b""],
            [body, b"0" * 64],
            [body.replace(b"crashed", b"missing"), proof],
            # Another node's own secret, that of all nodes of an earlier version, and a node that is gone.
            wire.encode(event(4, wire.CRASHED), wire.own_secret(SECRET, 3)),
            [body, wire.prove(body, 3, wire.own_secret(SECRET, 3))],
            [body, wire.sign(body, SECRET).encode()],
            said(event(1, wire.CRASHED, node_id=4)),
            said(event(4, wire.CRASHED, epoch=2**62)),
            said(event(5, wire.CRASHED), "OTHER"),
            honest[0],
            honest[0],
            honest[1],
            honest[0],
            honest[2],
            said(event(7, wire.CRASHED, epoch=0)),
        ],
    )
    wait_until(lambda: len(daemons.panel.messages) >= 3, "the honest messages")
    forge(daemons.endpoint, [said(event(8, wire.SHUT_OFF))])
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.SHUT_OFF, "the last honest message")
    assert [each["sequence"] for each in daemons.panel.messages] == [1, 2, 3, 8]


def test_the_secret_that_all_nodes_had_is_believed_until_the_file_names_it_no_more(daemons: Daemons) -> None:
    # As an earlier version wrote it, and as it is while nodes are told their own.
    values = config.read(daemons.master_conf)
    earlier = {name: value for name, value in values.items() if name != "nodes"}
    config.write(daemons.master_conf, {**earlier, "secret": "SHARED"})
    master = daemons.master()
    wait_until(lambda: "listening" in daemons.log("master"), "it listens")

    def old(number: int) -> list[bytes]:
        body = wire.to_body(event(number, wire.RUNNING))
        return [body, wire.sign(body, "SHARED").encode()]

    def read_again(times: int, **more: str) -> None:
        config.write(daemons.master_conf, {**values, **more})
        master.send_signal(signal.SIGHUP)
        wait_until(lambda: daemons.log("master").count("listening on") == times, "it has read its file")

    daemons.panel.status = 503
    forge(daemons.endpoint, [old(1)])
    wait_until(lambda: "does not take messages" in daemons.log("master"), "the first message is there")
    read_again(2, shared_secret="SHARED")
    daemons.panel.status = 200
    forge(daemons.endpoint, [old(2), said(event(3, wire.RUNNING))])
    wait_until(lambda: len(daemons.panel.messages) == 3, "all are believed")
    read_again(3)
    forge(daemons.endpoint, [old(4), said(event(5, wire.RUNNING))])
    wait_until(lambda: daemons.panel.messages[-1]["sequence"] == 5, "the node's own secret is believed")
    assert sorted(each["sequence"] for each in daemons.panel.messages) == [1, 2, 3, 5]


def test_a_message_that_the_panel_refuses_does_not_hold_up_the_others(daemons: Daemons) -> None:
    poison = str(uuid.UUID(int=0xBAD))
    daemons.panel.refuses = poison
    daemons.panel.status = 503
    daemons.master()
    domains = [wire.DomainState(poison, "bad", wire.RUNNING)]
    bad = wire.Message(9, 1, 2, time.time(), wire.EVENT, domains)
    messages = [event(1, wire.RUNNING), bad, event(3, wire.SHUT_OFF)]
    forge(daemons.endpoint, [said(each) for each in messages])
    wait_until(lambda: "does not take messages" in daemons.log("master"), "the master noticed")
    daemons.panel.status = 200
    wait_until(lambda: [each["sequence"] for each in daemons.panel.messages] == [1, 3], "the others arrived")


def test_another_certificate_gets_nothing(daemons: Daemons) -> None:
    other, _key = make_certificate(daemons.folder, "other")
    daemons.configure(certificate=str(other))
    master = daemons.master()
    forge(daemons.endpoint, [said(event(1, wire.RUNNING))])
    wait_until(lambda: "is not the one in" in daemons.log("master"), "the master refuses the panel")
    assert daemons.panel.messages == []
    daemons.configure()
    master.send_signal(signal.SIGHUP)
    wait_until(lambda: daemons.panel.messages, "the message, with the right certificate")


def test_what_waited_for_the_panel_outlives_the_killed_master(daemons: Daemons) -> None:
    daemons.panel.status = 503
    master = daemons.master()
    messages = [event(number, wire.RUNNING) for number in (1, 2, 3)]
    forge(daemons.endpoint, [said(messages[0])])
    spool = daemons.folder / "vmwatch-master.waiting"
    wait_until(lambda: spool.exists() and spool.read_bytes().count(b"\n") == 1, "the first message is on the disk")
    forge(daemons.endpoint, [said(each) for each in messages[1:]])
    wait_until(lambda: spool.read_bytes().count(b"\n") == 3, "all are on the disk")
    assert spool.stat().st_mode & 0o777 == 0o600
    master.kill()
    master.wait()
    with spool.open("ab") as file:
        file.write(b'{"at":12,"body":{"torn')
    daemons.panel.status = 200
    begun = time.time()
    daemons.master()
    wait_until(lambda: len(daemons.panel.messages) == 3, "they are delivered")
    assert [each["sequence"] for each in daemons.panel.messages] == [1, 2, 3]
    assert all(0 < waited < 30 + time.time() - begun for waited in daemons.panel.waited)
    wait_until(lambda: not spool.exists(), "nothing waits any more")


def test_a_public_key_of_another_pair_is_said(daemons: Daemons) -> None:
    public, _ = (key.decode() for key in zmq.curve_keypair())
    _, secret = (key.decode() for key in zmq.curve_keypair())
    daemons.configure(curve_public_key=public, curve_secret_key=secret)
    assert daemons.master().wait(10) == 2
    assert "“curve_public_key” is not that of “curve_secret_key”" in daemons.log("master")
    assert secret not in daemons.log("master")


def test_a_second_master_leaves_alone_what_waits_with_the_first(daemons: Daemons) -> None:
    daemons.panel.status = 503
    daemons.master()
    spool = daemons.folder / "vmwatch-master.waiting"
    forge(daemons.endpoint, [said(event(1, wire.RUNNING))])
    wait_until(lambda: spool.exists() and spool.read_bytes().count(b"\n") == 1, "the message is on the disk")
    place = spool.stat().st_ino
    assert daemons.master().wait(15) == 5
    assert spool.stat().st_ino == place
