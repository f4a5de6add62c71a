"""What a person may do to a task, from its page or the page of what it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core.errors import PanelError
from panel.tasks import services
from panel.tasks.models import Task
from panel.tasks.selectors import get_task
from panel.web.rendering import found_or_404, refused, say, viewer_of

VERBS: dict[str, tuple[Callable[[Task, User], Any], Any]] = {
    "cancel": (services.cancel, _("The task is asked to end.")),
    "retry-undo": (services.retry_undo, _("The task goes on.")),
    "give-up": (services.give_up_stuck, _("The task is given up.")),
}


@login_required
@require_POST
def do(request: HttpRequest, task_id: int, verb: str) -> HttpResponse:
    """Cancel the task, have a stuck one go on, or give it up."""
    if verb not in VERBS:
        raise Http404("There is no such page.")
    viewer = viewer_of(request)
    act, told = VERBS[verb]
    try:
        act(found_or_404(get_task, viewer, task_id), viewer)
    except PanelError as error:
        worded = Redaction(viewer).error(error)
        return refused(worded.message, worded.status)
    return say(HttpResponse(status=204), str(told))
