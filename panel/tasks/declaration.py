"""What an operation is: its name, right, parameters, locks and steps, and when it is possible.

An operation is one class in one file under an app's operations/ folder, derived from operation.Operation, which can be
asked for too. registry.py knows them all, engine.py carries them out. Everything that a door needs (path, button,
permission, title, verb) follows from the class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal

from panel.accounts.models import User
from panel.core import kinds
from panel.core.errors import PanelError
from panel.core.validation import parse
from panel.core.wording import Text
from panel.tasks.context import Context, P
from panel.tasks.locks import LockSpec
from panel.tasks.models import Task
from panel.tasks.planning import Plan
from panel.tasks.requirements import Requirement, demand

Convert = Callable[[dict[str, Any]], dict[str, Any]]
StepFunction = Callable[[Any], "dict[str, Any] | None"]


@dataclass(frozen=True)
class Step:
    """One step: what to do, how to undo it, and how large it is beside the others.

    `run` answers a JSON-ready dictionary that later steps read, or None. Both functions may be
    repeated, so they look first whether their effect is there. `inline` steps run in the caller's
    transaction, before the task is queued, and touch nothing but the database. `describe` tells for
    a plan what the step would change, `difference` the descriptions' unified difference. Once a step that
    `commits` is done the operation goes forward only: it cannot be cancelled any more, and what fails then
    waits as `stuck` for a person to have it tried again. After a step that `ends_secrets` no step needs one: the task's
    are deleted with its end. No undo ever has them: they are deleted when a task turns back.

    Rows know a step by its `name` for as long as any task has it, through upgrades too: its function's unless `id` says
    another, so a function that is called anew keeps the old one as `id`, or has it among `formerly`.
    """

    run: StepFunction
    title: str
    undo: Callable[[Any], None] | None = None
    weight: int = 1
    inline: bool = False
    commits: bool = False
    ends_secrets: bool = False
    describe: Callable[[Any], str | Text] | None = None
    difference: Callable[[Any], str] | None = None
    id: str = ""
    formerly: tuple[str, ...] = ()
    """What the step was called in releases whose tasks may still be there."""

    @property
    def name(self) -> str:
        """The step's id."""
        return self.id or self.run.__name__


class Declaration(ABC, Generic[P]):
    """What every operation says of itself; see docs/decisions/0002 for the phases."""

    name: ClassVar[str]
    label: ClassVar[str]
    """The button: one or two words."""
    permission: ClassVar[str]
    params: type[P]
    params_version: ClassVar[int] = 1
    """Grows with every change of `params` that would misread what a task before it was asked for."""
    older_params: ClassVar[Mapping[int, Convert]] = {}
    """By version: how a task's parameters of it become those of the next one. Without it such a task ends as stuck."""
    context: ClassVar[type[Context[Any]]] = Context
    requires: ClassVar[Sequence[Requirement]] = ()
    """What must hold of the object: asked for without it the operation is refused, also when its turn comes."""
    offered: ClassVar[Sequence[Requirement]] = ()
    """What must hold besides for a page to offer it. Asked for nevertheless it is taken: what it leads to is there."""
    locks: ClassVar[Sequence[LockSpec]] = ()
    steps: ClassVar[Sequence[Step]] = ()
    on_failure: ClassVar[Literal["undo", "stop"]] = "undo"
    """`stop` is for operations that go forward only, such as a deletion: they fail where they are, and
    can be asked for again."""
    cancellable: ClassVar[Literal["always", "queued", "never"]] = "always"
    """Until when: its last step (or the one that commits), its first, or not even while it waits, since what it is for
    holds from the moment that it was asked for."""
    creates: ClassVar[bool] = False
    """Whether the object is made by the operation, so that asking names no existing one."""
    dangerous: ClassVar[bool] = False
    """Whether a page asks before it does it."""
    warning: ClassVar[str] = ""
    """What a page says before it does it: a sentence, where the button alone does not say what is lost."""
    rare: ClassVar[bool] = False
    """Whether its button is not even shown while the operation makes no sense for the object."""
    asks: ClassVar[bool] = False
    """Whether a page asks for the parameters although none is required; one that requires any always does."""
    placed: ClassVar[bool] = False
    """Whether the object's page has a place of its own for it, so that it is not among the buttons."""
    supersedes: ClassVar[Sequence[str]] = ()
    """Operations that give way to it: a task of theirs is cancelled and its end waited for, instead of Busy."""
    at_panel: ClassVar[bool] = False
    """Whether only a worker on the panel's machine (PanelHere) may carry it out; others leave the task to it."""

    @property
    def object_type(self) -> str:
        """What kind of object the operation is about: the part of its name before the dot."""
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        """What it does with it: the part of its name after the dot."""
        return self.name.partition(".")[2]

    @property
    def step_names(self) -> dict[Callable[..., Any], str]:
        """The ids of its steps by their functions."""
        return {step.run: step.name for step in self.steps}

    def title(self, ctx: Context[P]) -> str | Text:
        """The task's title, for people: a Text, or (of a plug-in without a catalogue) a finished one."""
        return Text("{action} {name}", {"action": Text(self.label), "name": ctx.task.object_name})

    def why_not(self, obj: Any) -> Text | None:
        """Why a page does not offer it for the object as it is now; None where it does."""
        try:
            self.refuse_state(obj)
            demand(obj, *self.offered)
        except PanelError as error:
            return error.text
        return None

    def refuse_state(self, obj: Any) -> None:
        """Raise RequestError where the object's state forbids the operation, whatever its own check looks at."""
        if not self.creates:
            kinds.get(self.object_type).refuse(self.name, obj)
            demand(obj, *self.requires)

    def refuse_now(self, ctx: Context[P]) -> None:
        """refuse_state() when the task's turn comes: the object may have changed while it waited."""
        if self.creates:
            return
        # One that is gone is the steps' matter.
        if (obj := ctx.find_object()) is not None:
            kinds.get(self.object_type).refuse_at_turn(self.name, ctx, obj)
            demand(obj, *(each.again for each in self.requires))

    def warning_about(self, obj: Any) -> str:
        """What a page says of the object before it does it: the operation's own warning, and what its state adds."""
        added = "" if self.creates else kinds.get(self.object_type).warning(self.name, obj)
        return " ".join(filter(None, (self.warning, added)))

    def losses(self, obj: Any) -> list[Text]:
        """What of the object is gone for good by it; a page names it, and wants the object's name typed."""
        return []

    def initial(self, obj: Any) -> dict[str, Any]:
        """What a form about the object shows in the parameters to begin with."""
        return {}

    def check(self, ctx: Context[P], viewer: User) -> None:
        """Refuse with a reason before anything is touched; reads only.

        Raises RequestError or CapacityError.
        """

    def parse(self, raw: dict[str, Any]) -> P:
        """The parameters from a door's raw input; raises InvalidValue or MissingValue naming the field."""
        return parse(self.params, raw)

    @abstractmethod
    def submit(
        self,
        viewer: User,
        raw: dict[str, Any],
        *,
        object_id: int | None = None,
        idempotency_key: str | None = None,
        queue: bool = False,
        precondition: Callable[[], None] | None = None,
    ) -> Task:
        """Have a task of it: see operation.py, of which each is."""

    @abstractmethod
    def plan(self, viewer: User, raw: dict[str, Any], *, object_id: int | None = None) -> Plan:
        """What submit() would lead to: see operation.py."""
