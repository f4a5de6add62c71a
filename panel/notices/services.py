"""Opening, closing and acknowledging problems. Idempotent: reporting the same thing twice keeps one problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from panel.accounts import journal
from panel.accounts.models import User
from panel.core import live, permissions
from panel.core.errors import InvalidValue, WrongState
from panel.core.wording import Text, for_row
from panel.notices.models import LONGEST_NOTE, Problem, Severity

RANK = {severity: place for place, severity in enumerate(Severity.values)}
NOT_ACKNOWLEDGED: Mapping[str, Any] = {"acknowledged_at": None, "acknowledged_by": "", "note": ""}


def open_problem(
    key: str, text: str | Text, *, severity: str = Severity.ERROR, object_type: str = "", object_id: int | None = None
) -> Problem:
    """Have the problem `key` open with this text; a second report only refreshes text and time.

    One that was acknowledged and has become worse is to be looked at again.
    """
    english, said = for_row(text)
    fields = {"severity": severity, "text": english, "said": said, "object_type": object_type, "object_id": object_id}
    try:
        with transaction.atomic():
            known = Problem.objects.select_for_update().filter(open_key=key).first()
            if known is not None and RANK[severity] > RANK[known.severity]:
                fields |= NOT_ACKNOWLEDGED
            problem, created = _write(known, key, fields)
    except IntegrityError:
        # Two reporters met between its read and its write; the other's row is as good as ours.
        return Problem.objects.get(open_key=key)
    if created:
        transaction.on_commit(lambda: live.publish("problem", {"id": problem.pk, "open": True}))
    return problem


def _write(known: Problem | None, key: str, fields: dict[str, Any]) -> tuple[Problem, bool]:
    """The problem as it is now, and whether it is new."""
    if known is None:
        return Problem.objects.create(open_key=key, key=key, **fields), True
    for name, value in fields.items():
        setattr(known, name, value)
    known.save()
    return known, False


@transaction.atomic
def acknowledge(problem: Problem, by: User, note: str = "") -> Problem:
    """Say that `by` knows of the problem: it does not count any more, and is still shown.

    Raises AccessDenied, InvalidValue, and WrongState for one that has ended.
    """
    note = note.strip()
    if len(note) > LONGEST_NOTE:
        raise InvalidValue(Text("“note” has at most {most} characters.", {"most": LONGEST_NOTE}), field="note")
    told = {"acknowledged_at": timezone.now(), "acknowledged_by": by.name, "note": note}
    return _note(problem, by, "problem.acknowledge", told, {"note": note} if note else {})


@transaction.atomic
def take_acknowledgement_back(problem: Problem, by: User) -> Problem:
    """Have the problem count again; raises as acknowledge() does."""
    return _note(problem, by, "problem.unacknowledge", NOT_ACKNOWLEDGED, {})


def _note(problem: Problem, by: User, action: str, values: Mapping[str, Any], after: Mapping[str, Any]) -> Problem:
    permissions.require(by, "notices.manage")
    found = Problem.objects.select_for_update().get(pk=problem.pk)
    if not found.is_open:
        raise WrongState(object="problem", id=found.pk, state="ended")
    for name, value in values.items():
        setattr(found, name, value)
    # When it was last seen stays what it was.
    found.save(update_fields=list(values))
    journal.record(by, action, "problem", found.pk, str(found.pk), after=after)
    told = {"id": found.pk, "open": True, "acknowledged": found.acknowledged_at is not None}
    transaction.on_commit(lambda: live.publish("problem", told))
    return found


def close_problem(key: str) -> bool:
    """Close the problem `key` if it is open; True when it was."""
    return close_problems([key]) == 1


def close_problems(keys: Sequence[str]) -> int:
    """Close those of the problems that are open; answers how many were. One query when none is."""
    return _close(Problem.objects.filter(open_key__in=keys))


def close_problems_of(object_type: str, object_id: int) -> int:
    """Close what is open about an object that is no more; answers how many problems were."""
    problems = Problem.objects.filter(object_type=object_type, object_id=object_id, open_key__isnull=False)
    return _close(problems)


def _close(open_ones: QuerySet[Problem]) -> int:
    problems = list(open_ones.values_list("pk", "open_key"))
    closed = []
    for pk, key in problems:
        if Problem.objects.filter(pk=pk, open_key=key).update(open_key=None, closed_at=timezone.now()):
            closed.append({"id": pk, "open": False})
    if closed:
        transaction.on_commit(lambda: live.publish_many("problem", closed))
    return len(closed)
