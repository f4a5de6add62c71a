"""What a person may do to a task, from its page or the page of what it is about."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.tasks import services
from panel.tasks.models import StepStatus, Task
from panel.tasks.selectors import get_task
from panel.web.plain_form import Done, deed, question
from panel.web.rendering import found_or_404, viewer_of

MOST_STEPS = 20


@login_required
def do(request: HttpRequest, task_id: int, verb: str) -> HttpResponse:
    """The dialogs (GET, POST) that cancel a task or give a stuck one up; or have a stuck one go on (POST)."""
    viewer = viewer_of(request)
    task = found_or_404(get_task, viewer, task_id)
    if verb in DIALOGS:
        return DIALOGS[verb](request, viewer, task)
    if verb == "retry-undo" and request.method == "POST":
        return _retry(request, viewer, task)
    raise Http404("There is no such page.")


def _cancel(request: HttpRequest, viewer: User, task: Task) -> HttpResponse:
    def act() -> Done:
        services.cancel(task, viewer)
        return _("The task is asked to end.")

    lead = _("It ends as soon as it can. What it did is undone.")
    return _ask(request, viewer, task, act, _("Cancel the task"), lead, _("These steps are undone:"))


def _give_up(request: HttpRequest, viewer: User, task: Task) -> HttpResponse:
    def act() -> Done:
        services.give_up_stuck(task, viewer)
        return _("The task is given up.")

    lead = _("It ends as failed. What it did is left as it is, and what it held can be used again.")
    return _ask(request, viewer, task, act, _("Give the task up"), lead, _("This is left on the node:"))


def _ask(
    request: HttpRequest, viewer: User, task: Task, act: Callable[[], Done], title: str, lead: str, lost_title: str
) -> HttpResponse:
    redaction = Redaction(viewer)
    done = task.steps.filter(status=StepStatus.DONE).order_by("position")[:MOST_STEPS]
    lost = [redaction.shown(each.worded_title) for each in done]
    return question(request, act, title=title, button=title, lead=lead, lost=lost, lost_title=lost_title)


def _retry(request: HttpRequest, viewer: User, task: Task) -> HttpResponse:
    def act() -> Done:
        services.retry_undo(task, viewer)
        return _("The task goes on.")

    return deed(request, act)


DIALOGS: dict[str, Callable[[HttpRequest, User, Task], HttpResponse]] = {"cancel": _cancel, "give-up": _give_up}
