"""Addresses that many take and give back at once: none is had by two, and a large range costs no rows."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest
from django.db import connection, transaction

from panel.cluster.models import Node
from panel.network.models import Address, Network
from panel.network.services import allocate, end_reservation, release, reserve
from tests.db.conftest import make_network

WORKERS = 8
QUEUED_MS = 60_000


class Holdings:
    """Who has which address just now; two at once are kept as a fault."""

    def __init__(self) -> None:
        self.lock, self.held, self.faults, self.taken = threading.Lock(), set[str](), list[str](), 0

    def take(self, ip: str) -> None:
        """Somebody was given it."""
        with self.lock:
            self.taken += 1
            if ip in self.held:
                self.faults.append(ip)
            self.held.add(ip)

    def give_back(self, ip: str) -> None:
        """He is about to give it back."""
        with self.lock:
            self.held.discard(ip)


def work(network: Network, seed: int, count: int, holdings: Holdings) -> None:
    """Take so many addresses, as VMs and as reservations do, giving one in three back on the way and all at the end."""
    chance, mine = random.Random(seed), list[Address]()

    def give_back(each: Address) -> None:
        holdings.give_back(each.ip)
        with transaction.atomic():
            end_reservation(each) if each.reserved else release(each.pk)

    try:
        for number in range(count):
            with transaction.atomic():
                made = reserve(network, None, 4, None, "") if number % 4 == 0 else allocate(network)[0]
            holdings.take(made.ip)
            mine.append(made)
            if chance.random() < 1 / 3:
                give_back(mine.pop(chance.randrange(len(mine))))
        for each in mine:
            give_back(each)
    except Exception as error:
        holdings.faults.append(repr(error))
    finally:
        connection.close()


@pytest.mark.parametrize("count", [240, pytest.param(2000, marks=pytest.mark.nightly)])
def test_eight_workers_are_never_given_one_address_twice(node: Node, count: int) -> None:
    network = make_network(node.cluster, "wide", "br9", "10.80.0.0/20", [("10.80.0.10", "10.80.9.255")])
    holdings, began = Holdings(), time.monotonic()
    threads = [
        threading.Thread(target=work, args=(network, seed, count // WORKERS, holdings)) for seed in range(WORKERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    seconds = time.monotonic() - began
    print(f"{holdings.taken} addresses taken and given back in {seconds:.1f} s, {holdings.taken / seconds:.0f}/s")
    assert not holdings.faults and holdings.taken == count
    assert not holdings.held and not Address.objects.exists()


class CountedRows:
    """How many rows each query has read."""

    def __init__(self) -> None:
        self.most = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        self.most = max(self.most, context["cursor"].cursor.rowcount)
        return result


def test_taking_an_address_reads_no_more_of_a_full_network_than_of_an_empty_one(node: Node) -> None:
    network = make_network(node.cluster, "wide", "br9", "10.80.0.0/20", [("10.80.0.10", "10.80.9.255")])
    ips = [f"10.80.{number // 256}.{number % 256}" for number in range(10, 2400) if number != 2000]
    Address.objects.bulk_create([Address(network=network, ip=ip) for ip in ips])
    rows = CountedRows()
    with transaction.atomic(), connection.execute_wrapper(rows):
        assert allocate(network)[0].ip == "10.80.7.208"
        assert allocate(network)[0].ip == "10.80.9.96"
    assert rows.most <= 2, rows.most
