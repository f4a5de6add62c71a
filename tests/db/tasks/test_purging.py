"""What is kept for a time is forgotten after it, however much it is, and nothing younger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from panel.accounts import journal
from panel.accounts import periodic as accounts
from panel.accounts.models import JournalEntry, SigninKey, Token, User
from panel.api import idempotency
from panel.api.models import Batch, BatchState, KeptAnswer
from panel.core import purging
from panel.notices.models import Problem
from panel.tasks import periodic as tasks
from panel.tasks.models import Status, Task
from panel.webhooks import periodic as webhooks
from panel.webhooks.models import Delivery, Webhook

OLD = 7
"""Rows that are to go: more than two batches."""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three."""
    monkeypatch.setattr(purging, "BATCH", 3)
    monkeypatch.setattr(journal, "MOST_AT_ONCE", 3)


def _make_tasks(user: User, number: int, days: float) -> None:
    at = timezone.now() - timedelta(days=days)
    Task.objects.create(operation="vm.start", title="Start", status=Status.DONE, finished_at=at)


def _make_problems(user: User, number: int, days: float) -> None:
    closed_at = timezone.now() - timedelta(days=days)
    Problem.objects.create(key=f"test:{number}:{days}", severity="error", text="x", closed_at=closed_at)


def _make_batches(user: User, number: int, days: float) -> None:
    Batch.objects.create(user=user, state=BatchState.DONE, finished_at=timezone.now() - timedelta(days=days))


def _make_answers(user: User, number: int, days: float) -> None:
    made = KeptAnswer.objects.create(user=user, key=f"{number}:{days}", digest="")
    KeptAnswer.objects.filter(pk=made.pk).update(created_at=timezone.now() - timedelta(days=days))


def _make_deliveries(user: User, number: int, days: float) -> None:
    webhook, _made = Webhook.objects.get_or_create(owner=user, url="https://billing.example/", sealed=b"")
    made = Delivery.objects.create(webhook=webhook, key=f"{number}:{days}", event="task.done", data={})
    Delivery.objects.filter(pk=made.pk).update(created_at=timezone.now() - timedelta(days=days))


def _make_tokens(user: User, number: int, days: float) -> None:
    expires_at = timezone.now() - timedelta(days=days)
    Token.objects.create(user=user, name="x", digest=f"{number}:{days}", expires_at=expires_at)


def _make_keys(user: User, number: int, days: float) -> None:
    expires_at = timezone.now() - timedelta(days=days - 1)
    SigninKey.objects.create(user=user, digest=f"{number}:{days}", expires_at=expires_at)


def _make_entries(user: User, number: int, days: float) -> None:
    made = journal.record(user, "test.done", "test")
    at = (timezone.now() - timedelta(days=days)).replace(tzinfo=None)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_journalentry SET at = %s WHERE id = %s", [at, made.pk])


Make = Callable[[User, int, float], None]


@pytest.mark.parametrize(
    ("model", "make", "purge", "option", "days"),
    [
        (Task, _make_tasks, tasks.purge, "task_days", 90),
        (Problem, _make_problems, tasks.purge, "problem_days", 365),
        (Batch, _make_batches, idempotency.purge, "task_days", 90),
        (KeptAnswer, _make_answers, idempotency.purge, None, idempotency.KEEP_DAYS),
        (Delivery, _make_deliveries, webhooks.purge, "webhook_days", 30),
        (Token, _make_tokens, accounts.purge, None, accounts.EXPIRED_TOKENS_KEPT.days),
        (SigninKey, _make_keys, accounts.purge, None, 1),
        (JournalEntry, _make_entries, accounts.purge, "journal_days", 400),
    ],
)
def test_what_is_older_than_it_is_kept_goes_and_the_younger_stays(
    user: User, model: type, make: Make, purge: Callable[[], None], option: str | None, days: int
) -> None:
    assert option is None or getattr(settings.CONFIG, option) == days
    for number in range(OLD):
        make(user, number, days + 1)
    make(user, 0, days - 1)
    purge()
    assert model.objects.count() == 1  # type: ignore[attr-defined]


def test_what_is_open_stays_however_old_it_is(user: User) -> None:
    then = timezone.now() - timedelta(days=9999)
    Task.objects.create(operation="vm.start", title="Start", status=Status.STUCK, finished_at=then)
    Problem.objects.create(key="a", open_key="a", severity="error", text="x")
    Problem.objects.update(opened_at=then)
    Batch.objects.create(user=user)
    Batch.objects.update(created_at=then)
    tasks.purge()
    idempotency.purge()
    assert (Task.objects.count(), Problem.objects.count(), Batch.objects.count()) == (1, 1, 1)


def test_one_purge_has_an_end(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "MOST_BATCHES", 2)
    for number in range(OLD):
        _make_tasks(user, number, 9999)
    tasks.purge()
    assert Task.objects.count() == OLD - 6
