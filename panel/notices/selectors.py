"""Reading problems; they are the cluster's, so users see none."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from panel.accounts.models import User
from panel.core import permissions
from panel.core.errors import NotFound
from panel.notices.models import Problem

OPEN = Q(open_key__isnull=False)
STATES: dict[str, Q] = {
    "open": OPEN,
    "unacknowledged": OPEN & Q(acknowledged_at=None),
    "acknowledged": OPEN & Q(acknowledged_at__isnull=False),
    "ended": Q(open_key=None),
    "all": Q(),
}
"""By what problems are asked for: what is open first of all."""


def list_problems(viewer: User, state: str = "open") -> QuerySet[Problem]:
    """Problems of the state (of STATES), the newest first: those that are open, unless asked otherwise."""
    problems = Problem.objects.filter(STATES[state])
    return problems if permissions.allows(viewer, "cluster.view") else problems.none()


def find_problem(viewer: User, problem_id: int) -> Problem | None:
    """One problem, open or ended; None when absent or not for this viewer."""
    return list_problems(viewer, "all").filter(pk=problem_id).first()


def get_problem(viewer: User, problem_id: int) -> Problem:
    """One problem; raises NotFound."""
    problem = find_problem(viewer, problem_id)
    if problem is None:
        raise NotFound(object="problem", id=problem_id)
    return problem
