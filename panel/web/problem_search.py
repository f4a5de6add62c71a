"""Problems found by what somebody types: by their sentences, as their reader sees them, and by what they are about."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Q, QuerySet

from panel.accounts.models import User
from panel.core import kinds
from panel.notices.models import Problem
from panel.notices.selectors import list_problems

MOST_READ = 1000
"""Sentences are made when they are shown, so no index has them: of more problems the newest are looked through."""


def worded_like(problems: QuerySet[Problem], text: str) -> list[int]:
    """The ids of those whose sentence has the text, in the reader's language. Only for who may know nodes."""
    wanted = text.casefold()
    newest = problems.order_by("-pk")[:MOST_READ]
    return [each.pk for each in newest if wanted in each.worded.shown(nodes=True).casefold()]


def first(viewer: User, text: str, about: Collection[tuple[str, int]]) -> list[tuple[Problem, str]]:
    """The newest open problems that have the text, or are `about` one of these objects; each with its object's name."""
    problems = list_problems(viewer)
    fits = Q(pk__in=worded_like(problems, text))
    for kind, object_id in about:
        fits |= Q(object_type=kind, object_id=object_id)
    found = list(problems.filter(fits).order_by("-pk")[: kinds.MOST_FOUND])
    called = names(viewer, found)
    return [(each, called.get((each.object_type, each.object_id), "")) for each in found]


def names(viewer: User, problems: Collection[Problem]) -> dict[tuple[str, int | None], str]:
    """What the objects of the problems are called, by kind and id; those that are gone are not among them."""
    ids: dict[str, set[int]] = {}
    for each in problems:
        if each.object_id is not None:
            ids.setdefault(each.object_type, set()).add(each.object_id)
    known = {name: kind for name in ids if (kind := kinds.find(name)) is not None}
    return {
        (name, found.pk): str(found) for name, kind in known.items() for found in kind.found(viewer, sorted(ids[name]))
    }
