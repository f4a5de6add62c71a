"""Reading problems; they are the cluster's, so users see none."""

from __future__ import annotations

from django.db.models import QuerySet

from panel.accounts.models import User
from panel.notices.models import Problem


def list_problems(viewer: User) -> QuerySet[Problem]:
    """Problems that are open, the newest first."""
    problems = Problem.objects.filter(open_key__isnull=False)
    return problems if viewer.sees_all else problems.none()
