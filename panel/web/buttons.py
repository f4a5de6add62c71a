"""The buttons of an object, from the registry: what matters now beside its name, all others in a menu."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.translation import gettext as _

from panel.accounts.models import User
from panel.core import kinds, wording
from panel.core.wording import Text
from panel.tasks import registry
from panel.tasks.declaration import Declaration
from panel.tasks.models import Task

LAST_VERBS = ("delete", "remove")


@dataclass(frozen=True)
class Button:
    """An operation at an object. With a `dialog` it asks first; off, it says `why_not`."""

    verb: str
    label: str
    address: str
    dialog: bool
    dangerous: bool
    why_not: Text | str = ""

    @property
    def on(self) -> bool:
        """Whether it can be pressed."""
        return not self.why_not


def of(
    operation: Declaration[Any],
    obj: Any,
    task: Task | None,
    *,
    label: str = "",
    fixed: Mapping[str, Any] | None = None,
    why_not: Text | str | None = None,
) -> Button:
    """The operation's button at the object, which `task` may hold; `fixed` are parameters that its place settles.

    `why_not` is given where it is known already: it costs queries.
    """
    if why_not is None:
        why_not = operation.why_not(obj) or ""
    if not why_not and task is not None and task.operation not in operation.supersedes:
        why_not = _("Wait until “%(task)s” has ended.") % {"task": task.worded_title.shown(nodes=False)}
    plural = kinds.get(operation.object_type).plural
    address = reverse("operation", args=[plural, obj.pk, operation.verb])
    return Button(
        verb=operation.verb,
        label=label or wording.translated(operation.label),
        address=f"{address}?{urlencode(fixed)}" if fixed else address,
        dialog=_asks(operation, obj, fixed or {}),
        dangerous=operation.dangerous,
        why_not=why_not,
    )


def _asks(operation: Declaration[Any], obj: Any, fixed: Mapping[str, Any]) -> bool:
    left = set(operation.params.model_fields) - set(fixed)
    required = any(operation.params.model_fields[name].is_required() for name in left)
    return operation.dangerous or operation.asks or required or bool(operation.losses(obj)) or bool(fixed and left)


@dataclass(frozen=True)
class Buttons:
    """What stands beside the object's name, and what in the menu: in two parts, the dangerous last."""

    main: Sequence[Button]
    menu: Sequence[Button]
    dangerous: Sequence[Button]


def at(viewer: User, obj: Any, task: Task | None, *, kind: str, main: Sequence[str]) -> Buttons:
    """The buttons of an object of the kind; the verbs that matter now, where they are possible, are `main`."""
    kinds.get(kind).gather([obj])
    operations = [each for each in registry.for_object(kind, viewer) if not each.placed]
    made = [(each, of(each, obj, task)) for each in operations]
    first = {button.verb: button for _operation, button in made if button.verb in main and button.on}
    rest = [
        button
        for operation, button in made
        # What hardly ever makes sense is not even shown then.
        if button.verb not in first and (button.on or not operation.rare or task is not None)
    ]
    rest.sort(key=lambda each: each.verb in LAST_VERBS)
    return Buttons(
        main=[first[verb] for verb in main if verb in first],
        menu=[each for each in rest if not each.dangerous],
        dangerous=[each for each in rest if each.dangerous],
    )
