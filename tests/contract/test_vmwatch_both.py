"""vmwatch-node and vmwatch-master together: from libvirt's test driver over ZeroMQ to an HTTPS server."""

from __future__ import annotations

import signal
import time

import zmq

from tests.contract.vmwatch_daemons import SECRET, WEB1, Daemons, event, forge, memory_kib, said, tell, wait_until
from vmwatch import config, journal, wire


def test_every_change_of_a_domain_reaches_the_panel_in_its_order(daemons: Daemons) -> None:
    daemons.master()
    node = daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    assert daemons.panel.messages[0]["kind"] == wire.FULL_REPORT
    assert [each["name"] for each in daemons.panel.messages[0]["domains"]] == ["test"]
    steps = [
        (f"define web1 {WEB1}", "defined:added", wire.SHUT_OFF),
        ("create web1", "started:booted", wire.RUNNING),
        ("suspend web1", "suspended:paused", wire.PAUSED),
        ("resume web1", "resumed:unpaused", wire.RUNNING),
        ("destroy web1", "stopped:destroyed", wire.SHUT_OFF),
        ("undefine web1", "undefined:removed", wire.MISSING),
    ]
    for command, detail, state in steps:
        tell(node, command)
        wait_until(lambda detail=detail: daemons.panel.details()[-1:] == [detail], f"web1 {detail}")
        assert daemons.panel.state_of(WEB1) == state
    sequences = [each["sequence"] for each in daemons.panel.messages]
    assert sequences == sorted(set(sequences))


def test_an_event_is_with_the_panel_in_a_tenth_of_a_second(daemons: Daemons) -> None:
    daemons.master()
    node = daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    tell(node, f"define web1 {WEB1}")
    latencies = []
    for number in range(20):
        word, state = (("create", wire.RUNNING), ("destroy", wire.SHUT_OFF))[number % 2]
        begun = time.time()
        tell(node, f"{word} web1")
        wait_until(lambda state=state: daemons.panel.state_of(WEB1) == state, f"web1 is {state}")
        latencies.append(time.time() - begun)
    assert sorted(latencies)[len(latencies) // 2] < 0.1, latencies


def test_both_end_cleanly_when_told_to(daemons: Daemons) -> None:
    master, node = daemons.master("--pid-file", str(daemons.folder / "pid")), daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    assert (daemons.folder / "pid").read_text() == str(master.pid)
    for process in (node, master):
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not (daemons.folder / "pid").exists()


def test_a_bad_configuration_is_said_and_ends_either_with_2(daemons: Daemons) -> None:
    config.write(daemons.master_conf, {"listen": "tcp://127.0.0.1:1"})
    config.write(daemons.node_conf, {"connect": "tcp://127.0.0.1:1"})
    assert (daemons.master().wait(10), daemons.node().wait(10)) == (2, 2)
    assert "“secret” is missing" in daemons.log("master")


def test_messages_wait_for_a_panel_that_is_away_in_their_order(daemons: Daemons) -> None:
    daemons.panel.status = 503
    daemons.master()
    node = daemons.node()
    wait_until(lambda: "does not take messages" in daemons.log("master"), "the master noticed")
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    tell(node, f"define web1 {WEB1}", "create web1", "suspend web1")
    wait_until(lambda: daemons.log("node").count("web1") == 3, "the events were sent")
    daemons.panel.status = 200
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.PAUSED, "the events arrived")
    assert daemons.panel.details() == ["defined:added", "started:booted", "suspended:paused"]


def test_a_secret_can_be_changed_while_both_run(daemons: Daemons) -> None:
    # What the one says in the new secret before the other knows it comes with the next full report.
    daemons.configure(secret="OLD", node={"resync": "0.5"})
    master, node = daemons.master(), daemons.node()
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    wait_until(lambda: "listening" in daemons.log("master"), "the master listens")
    daemons.configure(node={"resync": "0.5"})
    for process in (master, node):
        process.send_signal(signal.SIGHUP)
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.RUNNING, "the event under the new secret")


def test_a_killed_master_comes_back_to_a_new_full_report(daemons: Daemons) -> None:
    master, node = daemons.master(), daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    master.kill()
    master.wait()
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.log("node").count("web1") == 2, "the events were heard")
    daemons.panel.messages.clear()
    daemons.master()
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.RUNNING, "the panel knows of the change")
    # The resync interval is an hour here: the full report came because the master did.
    wait_until(lambda: any(each["kind"] == wire.FULL_REPORT for each in daemons.panel.messages), "a new full report")


def test_an_event_that_the_killed_master_took_along_is_told_again(daemons: Daemons) -> None:
    daemons.panel.status = 503
    master, node = daemons.master(), daemons.node()
    wait_until(lambda: "does not take messages" in daemons.log("master"), "the master noticed")
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    # It has the events, and dies with them; what it wrote is gone as well.
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.log("node").count("web1") == 2, "the events were sent")
    master.kill()
    master.wait()
    (daemons.folder / "vmwatch-master.waiting").unlink(missing_ok=True)
    daemons.panel.status = 200
    daemons.master()
    wait_until(lambda: any(each["kind"] == wire.FULL_REPORT for each in daemons.panel.messages), "a new full report")
    [full_report] = [each for each in daemons.panel.messages if each["kind"] == wire.FULL_REPORT]
    assert [past["domain"]["detail"] for past in full_report["recent"]] == ["defined:added", "started:booted"]


def test_the_panel_hears_of_both_daemons_though_nothing_happens(daemons: Daemons) -> None:
    daemons.configure(node={"resync": "0.9"})
    daemons.master()
    daemons.node()
    kinds = lambda: [each["kind"] for each in daemons.panel.messages]  # noqa: E731
    wait_until(lambda: kinds().count(wire.ALIVE) >= 2 and kinds().count(wire.FULL_REPORT) >= 2, "words of life")
    for process in daemons.processes[1:]:
        process.kill()
    before = len(daemons.panel.arrived)
    wait_until(lambda: len(daemons.panel.arrived) > before, "the master speaks for itself", 20)


def test_while_a_secret_is_changed_the_previous_one_is_believed(daemons: Daemons) -> None:
    daemons.configure(secret="OLD")
    node = daemons.node()
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    values = config.read(daemons.master_conf)
    config.write(daemons.master_conf, {**values, "secret": SECRET, "previous_secret": "OLD"})
    master = daemons.master()
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.RUNNING, "the event under the previous secret")
    config.write(daemons.master_conf, {**values, "secret": SECRET})
    master.send_signal(signal.SIGHUP)
    wait_until(lambda: daemons.log("master").count("listening on") == 2, "the master has read its file")
    tell(node, "destroy web1")
    wait_until(lambda: daemons.log("node").count("web1") == 3, "the event was sent")
    forge(daemons.endpoint, [said(event(1, wire.RUNNING))])
    wait_until(lambda: daemons.panel.messages[-1]["node_id"] == 9, "a message under the new secret")
    assert daemons.panel.details()[-2:] == ["started:booted", "told"]


def test_with_curve_keys_nothing_is_taken_that_travels_in_the_open(daemons: Daemons) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    daemons.configure(node={"server_key": public}, curve_public_key=public, curve_secret_key=secret)
    daemons.master()
    node = daemons.node()
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.RUNNING, "the event, encrypted")
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.setsockopt(zmq.LINGER, 0)
        push.setsockopt(zmq.IMMEDIATE, 1)
        push.connect(daemons.endpoint)
        assert not push.poll(1000, zmq.POLLOUT)


def test_a_node_that_learns_of_new_curve_keys_later_loses_no_event(daemons: Daemons) -> None:
    pairs = [tuple(key.decode() for key in zmq.curve_keypair()) for _ in range(2)]

    def give(node: int, master: int) -> None:
        public, secret = pairs[master]
        daemons.configure(node={"server_key": pairs[node][0]}, curve_public_key=public, curve_secret_key=secret)

    give(node=0, master=0)
    master, node = daemons.master(), daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.RUNNING, "the events under the first keys")
    give(node=0, master=1)
    master.send_signal(signal.SIGHUP)
    wait_until(lambda: daemons.log("master").count("listening on") == 2, "the master has the second keys")
    tell(node, *["suspend web1", "resume web1"] * 20)
    wait_until(lambda: daemons.log("node").count("web1 (") == 42, "the events were heard")
    give(node=1, master=1)
    node.send_signal(signal.SIGHUP)

    def told() -> set[int]:
        """The numbers of the events that came by themselves or with a full report."""
        found: set[int] = set()
        for message in list(daemons.panel.messages):
            found |= {message["sequence"]} if message["kind"] == wire.EVENT else set()
            found |= {past["sequence"] for past in message.get("recent", ())}
        return found

    wait_until(lambda: len(told()) == 42, "every event was told", 30)
    assert daemons.panel.state_of(WEB1) == wire.RUNNING


def test_of_ten_thousand_events_none_is_lost_with_a_killed_master_and_memory_is_bounded(daemons: Daemons) -> None:
    daemons.panel.status = 503
    daemons.configure(node={"resync": "1"})
    spool = ("--spool", str(daemons.folder / "waiting"))
    master, node = daemons.master(*spool), daemons.node()
    wait_until(lambda: "the master is there" in daemons.log("node"), "the node has the master")
    tell(node, f"define web1 {WEB1}", "create web1")
    before = memory_kib(node)
    # With those two as many as the node can tell again: the master may die with any of them.
    tell(node, "storm web1 4998")
    master.kill()
    master.wait()
    tell(node, "storm web1 5000")
    wait_until(lambda: daemons.log("node").count("web1 (") == journal.KEPT, "the events were heard", 60)
    daemons.panel.status = 200
    daemons.master(*spool)
    events: set[int] = set()

    def all_told() -> bool:
        for message in list(daemons.panel.messages):
            if message["kind"] == wire.EVENT:
                events.add(message["sequence"])
            events.update(past["sequence"] for past in message.get("recent", ()))
        return len(events) >= journal.KEPT

    wait_until(all_told, "every event was told", 60)
    # What is kept is 4 MiB and what the allocator holds besides; unbounded it would be as much for each ten thousand.
    assert memory_kib(node) - before < 8 * 1024
