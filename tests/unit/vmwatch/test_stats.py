"""libvirt's records of statistics as ours. The record is of libvirt 9.0 with QEMU 7.2."""

from __future__ import annotations

from typing import Any

import pytest

from vmwatch import stats, wire

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
RECORD: dict[str, Any] = {
    "state.state": 1,
    "state.reason": 1,
    "cpu.time": 5_021_000_000,
    "cpu.user": 120_000_000,
    "balloon.current": 131_072,
    "balloon.maximum": 131_072,
    "balloon.rss": 98_304,
    "net.count": 1,
    "net.0.name": "vnet3",
    "net.0.rx.bytes": 700,
    "net.0.rx.pkts": 7,
    "net.0.rx.errs": 0,
    "net.0.tx.bytes": 300,
    "net.0.tx.pkts": 3,
    "block.count": 2,
    "block.0.name": "vda",
    "block.0.path": "/var/lib/vmpanel/pool/7.qcow2",
    "block.0.rd.reqs": 11,
    "block.0.rd.bytes": 45_056,
    "block.0.wr.reqs": 2,
    "block.0.wr.bytes": 8_192,
    # A drive without a medium.
    "block.1.name": "sda",
}


def test_a_record_becomes_counters() -> None:
    assert stats.from_libvirt(UUID, 3, RECORD) == wire.DomainStatistics(
        uuid=UUID,
        run=3,
        cpu_ns=5_021_000_000,
        memory_kib=131_072,
        rss_kib=98_304,
        disks=[wire.DiskStatistics("vda", 45_056, 11, 8_192, 2), wire.DiskStatistics("sda", None, None, None, None)],
        interfaces=[wire.InterfaceStatistics("vnet3", 700, 7, 300, 3)],
    )


@pytest.mark.parametrize("left_out", ["cpu", "balloon", "net", "block"])
def test_what_a_busy_domain_does_not_tell_is_left_out(left_out: str) -> None:
    record = {name: value for name, value in RECORD.items() if not name.startswith(left_out)}
    found = stats.from_libvirt(UUID, 3, record)
    assert (found.uuid, found.run) == (UUID, 3)
    untold = {"cpu": found.cpu_ns, "balloon": found.rss_kib, "net": found.interfaces, "block": found.disks}
    assert [name for name, value in untold.items() if value is None] == [left_out]


def test_a_counter_that_could_not_be_read_is_not_nought() -> None:
    found = stats.from_libvirt(UUID, 3, {**RECORD, "net.0.rx.bytes": -1, "cpu.time": -1})
    assert found.interfaces == [wire.InterfaceStatistics("vnet3", None, 7, 300, 3)]
    assert found.cpu_ns is None


def test_a_domain_without_disks_is_not_one_whose_disks_are_not_known() -> None:
    assert stats.from_libvirt(UUID, 3, {**RECORD, "block.count": 0}).disks == []


@pytest.mark.parametrize("left_out", ["", "cpu", "balloon", "net", "block"])
def test_what_is_made_of_a_record_travels(left_out: str) -> None:
    record = {name: value for name, value in RECORD.items() if not left_out or not name.startswith(left_out)}
    message = wire.Message(1, 2, 3, 4.0, wire.STATISTICS, statistics=[stats.from_libvirt(UUID, 3, record)])
    assert wire.from_body(wire.to_body(message)) == message


def test_nodes_do_not_begin_in_one_second() -> None:
    begins = {stats.Collector(node_id, lambda _: None, lambda: None, 15.0)._next // 1 for node_id in range(30)}
    assert len(begins) >= 29


class Connection:
    """What stats.collect() uses of a libvirt connection; the domains' numbers are as libvirt 9.0 answers them."""

    calls = 0

    def getAllDomainStats(self, what: int, flags: int) -> list[tuple[Any, dict[str, Any]]]:
        self.calls += 1

        class Domain:
            def __init__(self, number: int) -> None:
                self.number = number

            def ID(self) -> int:
                return self.number

            def UUIDString(self) -> str:
                return UUID

        return [(Domain(number), RECORD) for number in (4, -1, 7)]


def test_one_call_is_made_for_all_domains_and_one_that_stopped_meanwhile_is_left_out() -> None:
    connection = Connection()
    assert [each.run for each in stats.collect(connection)] == [4, 7]
    assert connection.calls == 1
