"""What MariaDB gives up for the sake of another transaction is done again, as a whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.db import connection, transaction
from rest_framework.test import APIClient

from panel.accounts.models import Token, User
from panel.core import transactions
from tests.stack import wait_until


class Rival:
    """Changes two users in the other order, at the moment when that is a deadlock; and much besides, so it wins."""

    def __init__(self, first: User, then: User) -> None:
        self.first, self.then = first, then
        self.holds = threading.Event()
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with transaction.atomic():
                User.objects.filter(pk=self.first.pk).update(directory_dn="cn=x")
                rows = [Token(user=self.first, name="much", digest=f"{number:064}") for number in range(300)]
                Token.objects.bulk_create(rows)
                self.holds.set()
                wait_until(self._is_waited_for, "the other transaction waits", 30, every=0.15)
                User.objects.filter(pk=self.then.pk).update(directory_dn="cn=x")
        except Exception as error:
            self.error = error
        finally:
            self.holds.set()
            connection.close()

    @staticmethod
    def _is_waited_for() -> bool:
        # MariaDB answers from a cache, renewed after a tenth of a second without a question: it may not have this
        # transaction yet.
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT COUNT(*) FROM information_schema.innodb_trx AS other, information_schema.innodb_trx AS own"
                " WHERE other.trx_state = 'LOCK WAIT' AND own.trx_mysql_thread_id = CONNECTION_ID()"
            )
            return bool(cursor.fetchone()[0])


@pytest.fixture
def two(user: User) -> tuple[User, User]:
    """Two customers."""
    return user, User.objects.create(name="bert")


@pytest.fixture
def rival(two: tuple[User, User]) -> Iterator[Rival]:
    """It holds the second of them, and wants the first."""
    rival = Rival(two[1], two[0])
    rival.thread.start()
    assert rival.holds.wait(30)
    yield rival
    rival.thread.join(60)
    assert rival.error is None


@pytest.mark.parametrize("how", ["atomic", "with a key"])
def test_a_batch_that_was_in_a_deadlock_is_carried_out(
    api: APIClient, two: tuple[User, User], rival: Rival, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transactions, "time", SimpleNamespace(sleep=pauses.append))
    calls = [{"method": "PATCH", "path": f"/api/v1/users/{each.pk}", "body": {"may_create_vms": False}} for each in two]
    headers = {} if how == "atomic" else {"Idempotency-Key": "k"}
    answer = api.post("/api/v1/batch", {"calls": calls, "atomic": how == "atomic"}, format="json", headers=headers)
    assert answer.status_code == 200, answer.json()
    assert [each["status"] for each in answer.json()["results"]] == [200, 200]
    assert len(pauses) == 1
    found = User.objects.filter(pk__in=[each.pk for each in two])
    # Both are of the rival too: it was the one that went first.
    assert set(found.values_list("may_create_vms", "directory_dn")) == {(False, "cn=x")}
