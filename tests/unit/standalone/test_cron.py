"""The private cron: when an entry is due, and by which name django-crontab knows it."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.conf import settings
from django_crontab.crontab import Crontab

from panel.standalone.cron import job_hash, matches

SUNDAY = datetime(2026, 11, 22, 4, 17)


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("* * * * *", True),
        ("17 * * * *", True),
        ("*/5 * * * *", False),
        ("2-20/5 * * * *", True),
        ("17 4,5 * * *", True),
        ("17 5 * * *", False),
        ("17 4 * * 0", True),
        ("17 4 * * 7", True),
        ("17 4 * * 1-5", False),
        ("17 4 22 11 *", True),
        ("17 4 22 12 *", False),
    ],
)
def test_schedule_names_the_minutes_that_crontab_5_says(schedule: str, due: bool) -> None:
    assert matches(schedule, SUNDAY) is due


def test_either_day_field_is_enough_when_both_are_restricted() -> None:
    assert matches("17 4 1 * 0", SUNDAY)
    assert matches("17 4 22 * 3", SUNDAY)
    assert not matches("17 4 1 * 3", SUNDAY)


def test_entries_are_called_by_the_names_that_django_crontab_gives_them() -> None:
    crontab = Crontab(readonly=True)
    for job in settings.CRONJOBS:
        assert crontab._Crontab__get_job_by_hash(job_hash(job)) == job
