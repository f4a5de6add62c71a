"""Reading problems; they are the cluster's, so users see none."""

from __future__ import annotations

from django.db.models import QuerySet

from panel.accounts.models import User
from panel.core import permissions
from panel.notices.models import Problem


def list_problems(viewer: User) -> QuerySet[Problem]:
    """Problems that are open, the newest first."""
    problems = Problem.objects.filter(open_key__isnull=False)
    return problems if permissions.allows(viewer, "cluster.view") else problems.none()
