"""vmwatch-node as a process: from libvirt's test driver to what it sends."""

from __future__ import annotations

import time
import uuid
from typing import Any

from tests.contract.vmwatch_daemons import WEB1, Daemons, memory_kib, tell, wait_until
from vmwatch import wire

RSS_LIMIT_KIB = 40 * 1024


def test_the_node_runs_from_its_one_file_in_forty_megabytes(daemons: Daemons) -> None:
    daemons.master()
    node = daemons.node_alone()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    assert memory_kib(node) < RSS_LIMIT_KIB


def test_a_lost_libvirt_ends_the_node_with_a_code_of_its_own(daemons: Daemons) -> None:
    node = daemons.node()
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    tell(node, "lose")
    assert node.wait(10) == 3
    assert "the connection to libvirt is lost" in daemons.log("node")


def test_a_libvirt_that_is_not_there_ends_the_node_likewise(daemons: Daemons) -> None:
    node = daemons.node_alone("test:///does/not/exist.xml")
    assert node.wait(10) == 3
    # What it keeps is in the test's own folder, not in the machine's /run.
    assert (daemons.folder / "epoch").exists()


def test_a_killed_node_comes_back_with_a_later_epoch_though_the_clock_was_set_back(daemons: Daemons) -> None:
    daemons.master()
    ahead = time.time_ns() + 3600 * 10**9
    (daemons.folder / "epoch").write_text(str(ahead), encoding="ascii")
    daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    assert daemons.panel.messages[0]["epoch"] == ahead + 1


def test_statistics_of_active_domains_come_by_themselves(daemons: Daemons) -> None:
    daemons.configure(node={"statistics": "0.5"})
    daemons.master()
    node = daemons.node()
    tell(node, f"define web1 {WEB1}", f"define web2 {uuid.UUID(int=2)}", "create web1")

    def collected() -> list[set[str]]:
        found = [each for each in daemons.panel.messages if each["kind"] == wire.STATISTICS]
        return [{domain["uuid"] for domain in each["statistics"]} for each in found]

    wait_until(lambda: len(collected()) >= 3, "three collections")
    assert WEB1 in collected()[-1] and str(uuid.UUID(int=2)) not in collected()[-1]


def test_what_happens_besides_changes_of_state_is_told_with_the_present_state(daemons: Daemons) -> None:
    daemons.master()
    node = daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    tell(node, f"define web1 {WEB1}", "create web1")
    # What the hand does comes from another thread than what libvirt tells.
    wait_until(lambda: "started:booted" in daemons.panel.details(), "it runs")
    whats = ("reboot", "io-error", "watchdog", "block-job", "iteration", "agent", "arrive")
    tell(node, *(f"happen web1 {what}" for what in whats))
    wait_until(lambda: "started:migrated" in daemons.panel.details(), "all is told")
    assert daemons.panel.details()[2:] == [
        "rebooted",
        "io-error:vda",
        "watchdog:reset",
        "block-job:vda:ready",
        "migration:3",
        "agent:connected",
        "started:migrated",
    ]
    events = [each["domains"][0] for each in daemons.panel.messages if each["kind"] == wire.EVENT]
    # What arrives by a migration runs elsewhere still.
    assert [each["state"] for each in events[2:]] == [wire.RUNNING] * 6 + [wire.PAUSED]


def test_what_a_guest_does_as_often_as_it_likes_is_not_told_as_often(daemons: Daemons) -> None:
    daemons.master()
    node = daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    tell(node, f"define web1 {WEB1}")
    begun = time.monotonic()
    tell(node, *["happen web1 agent"] * 200)
    tell(node, "create web1")
    wait_until(lambda: "started:booted" in daemons.panel.details(), "all is told")
    assert 1 <= daemons.panel.details().count("agent:connected") <= 1 + time.monotonic() - begun


def test_what_a_killed_node_could_not_say_is_told_by_its_next_run(daemons: Daemons) -> None:
    node = daemons.node()
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.log("node").count("web1") == 2, "the events were heard")
    node.kill()
    node.wait()
    epoch = int((daemons.folder / "epoch").read_text())
    daemons.node()
    daemons.master()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    recent = daemons.panel.messages[0]["recent"]
    assert [(past["epoch"], past["sequence"], past["domain"]["detail"]) for past in recent] == [
        (epoch, 1, "defined:added"),
        (epoch, 2, "started:booted"),
    ]
    assert all(0 < past["domain"]["age"] < 30 for past in recent)
    assert daemons.panel.messages[0]["epoch"] > epoch


def test_statistics_that_could_not_be_sent_are_collected_anew_for_the_master_that_comes(daemons: Daemons) -> None:
    daemons.configure(node={"statistics": "3"})
    node = daemons.node()
    wait_until(lambda: "statistics are not sent" in daemons.log("node"), "a collection in vain")
    daemons.master()
    wait_until(lambda: "the master is there" in daemons.log("node"), "the node has the master")
    begun = time.monotonic()
    wait_until(lambda: any(each["kind"] == wire.STATISTICS for each in daemons.panel.messages), "statistics")
    assert time.monotonic() - begun < 2.5
    assert node.poll() is None


def test_a_domain_whose_memory_is_saved_is_told_as_saved_until_it_is_discarded(daemons: Daemons) -> None:
    daemons.configure(node={"resync": "0.3"})
    daemons.master()
    node = daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")
    tell(node, f"define web1 {WEB1}", "create web1", "save web1")
    wait_until(lambda: "stopped:saved" in daemons.panel.details(), "it is saved")

    def last(kind: str) -> str:
        of_kind = [each for each in daemons.panel.messages if each["kind"] == kind]
        return str(next((each["state"] for each in of_kind[-1].get("domains", ()) if each["uuid"] == WEB1), ""))

    assert last(wire.EVENT) == wire.SAVED
    wait_until(lambda: last(wire.FULL_REPORT) == wire.SAVED, "a full report says so too")
    tell(node, "discard web1")
    # libvirt tells nobody of it.
    wait_until(lambda: last(wire.FULL_REPORT) == wire.SHUT_OFF, "a full report says that it is not any more")


def test_the_event_of_an_end_brings_what_the_domain_had_counted_when_it_was_read_last(daemons: Daemons) -> None:
    daemons.configure(node={"resync": "0.2"})
    daemons.master()
    node = daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first full report")

    def ends() -> list[dict[str, Any]]:
        events = [each for each in daemons.panel.messages if each["kind"] == wire.EVENT]
        return [each for each in events if each["domains"][0]["detail"] == "stopped:destroyed"]

    def happens(what: str, detail: str) -> None:
        count = daemons.panel.details().count(detail)
        tell(node, what)
        wait_until(lambda: daemons.panel.details().count(detail) > count, detail)

    tell(node, f"define web1 {WEB1}", "create web1")
    happens("suspend web1", "suspended:paused")
    tell(node, "destroy web1", "create web1")
    happens("suspend web1", "suspended:paused")
    happens("resume web1", "resumed:unpaused")
    tell(node, "destroy web1")
    wait_until(lambda: len(ends()) == 2, "both ends")
    first, second = ends()
    # Its CPUs stood still when it was read, and the second one's did not.
    assert (first["final"], second.get("final", False)) == (True, False)
    runs = [each["statistics"][0]["run"] for each in (first, second)]
    assert runs[0] != runs[1] and {each["statistics"][0]["uuid"] for each in (first, second)} == {WEB1}
    assert 0 <= first["domains"][0]["age"] <= first["age"] < 10
    told = len(daemons.panel.messages)
    tell(node, "create web1")
    # Nothing tells of it until it is looked at, as often as full reports are sent.
    wait_until(lambda: len(daemons.panel.messages) > told + 6, "a few full reports")
    tell(node, "destroy web1")
    wait_until(lambda: len(ends()) == 3, "the third end")
    assert ends()[2]["statistics"][0]["run"] not in runs and not ends()[2].get("final")
