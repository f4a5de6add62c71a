"""What a task may bring an object to be beyond its row: counted from when it is asked for until the task ends.

Whoever counts what is promised asks here, and knows no other operation's steps. A row that is there already when
something is asked for (a VM, a disk, an address, a move) is its own reservation.
"""

from __future__ import annotations

from django.db.models import Max

from panel.core.errors import Busy
from panel.tasks.models import Reservation, Task


def reserve(task: Task, kind: str, object_id: int, **amounts: int) -> None:
    """Have the object counted as so large at least, each amount by its unit's name; within a transaction."""
    for resource, amount in amounts.items():
        task.reservations.update_or_create(
            kind=kind, object_id=object_id, resource=resource, defaults={"amount": amount}
        )


def refuse_held(kind: str, object_id: int, what: str, *, but: int | None) -> None:
    """Raise Busy where a task other than `but` (its id) has `what` of the object reserved for itself alone."""
    held = Reservation.objects.filter(kind=kind, object_id=object_id, resource=what)
    others = held if but is None else held.exclude(task_id=but)
    if (other := others.select_related("task").order_by("pk").first()) is not None:
        about = other.task
        raise Busy(task=about.pk, operation=about.operation, object=about.object_type, id=about.object_id)


def claimed(kind: str, object_id: int, prefix: str) -> list[str]:
    """What tasks that have not ended reserve of the object, of the resources that begin so."""
    rows = Reservation.objects.filter(kind=kind, object_id=object_id, resource__startswith=prefix)
    return list(rows.order_by("pk").values_list("resource", flat=True))


def hand_on(task: Task, to: Task) -> None:
    """Have another task reserve what this one does, too: it may come to go back to the same."""
    for mine in task.reservations.all():
        about = to.reservations.filter(kind=mine.kind, object_id=mine.object_id, resource=mine.resource)
        most = max([mine.amount, *about.values_list("amount", flat=True)])
        reserve(to, mine.kind, mine.object_id, **{mine.resource: most})


def release(task: Task) -> None:
    """Nothing is reserved for the task any more; the engine does so at its end."""
    task.reservations.all().delete()


def largest(kind: str, resource: str) -> dict[int, int]:
    """How large each object of the kind may become, by its id; those that nothing is reserved for are left out."""
    rows = Reservation.objects.filter(kind=kind, resource=resource).order_by()
    return dict(rows.values_list("object_id").annotate(most=Max("amount")))
