"""Sentences in the reader's language: what the source says has a Russian one with the same fields."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Formatter
from typing import Any, TypeGuard

import pytest

from panel.cluster.client import Progress
from panel.cluster.models import NodeState
from panel.cluster.nodes import worded
from panel.core import catalogue, errors, wording
from panel.core.errors import CommandFailed, InvalidValue, NodeUnreachable, NotFound, PanelError, shown
from panel.core.middleware import preferred
from panel.core.wording import Text, from_row, in_row
from panel.storage.models import PoolFault
from panel.tasks import deeds
from panel.tasks.engine import LOST_AT_END, TRYING_AGAIN
from panel.tasks.models import Status
from panel.vms.models import Cause, SnapshotState, VmStatus
from panel.vms.snapshot_words import unmanaged_told

TOP = Path(__file__).parents[3]
PO = wording.folder_of("ru")
REQUIRED = {"requirement": (2, 3), "status_in": (2,), "wrong_state": (1, 2), "_in_state": (1,)}
"""Where calls have what is said of a state."""
CLASSES = {name: each for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, PanelError)}


SAYING = {"log": 0, "Text": 0, "Refusal": 1, "Complaint": 0, "open_problem": 1, "give_up": 1}
"""What else is called with a sentence, at which place."""
TITLED = {"Step": 1, "PartStep": 1, "progress": 2, "_put_down": 4}
"""Calls whose argument at this place is a key; an agent's progress too."""


@pytest.fixture
def russian() -> Iterator[None]:
    """The reader reads Russian."""
    token = wording.bind("ru")
    yield
    wording.reset(token)


def templates_of(tree: ast.Module) -> Iterator[str]:
    """The finished sentences of errors and of task logs, and the templates of Texts, that a module has."""
    constants = assigned(tree.body)
    for scope in [tree, *(each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef))]:
        known = constants if scope is tree else {**constants, **assigned(ast.walk(scope))}
        for call in ast.walk(scope):
            if isinstance(call, ast.Call) and call.args and name_of(call) in ("Text", "log", *CLASSES):
                for each in either(call.args[0]):
                    found = known.get(each.id, []) if isinstance(each, ast.Name) else [each]
                    yield from (one.value for one in found if isinstance(one, ast.Constant) and is_text(one.value))


def assigned(nodes: Iterable[ast.AST]) -> dict[str, list[ast.expr]]:
    """What names are given as values, by name."""
    found: dict[str, list[ast.expr]] = {}
    for each in nodes:
        if isinstance(each, ast.Assign):
            for target in each.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).extend(either(each.value))
    return found


def is_text(value: Any) -> TypeGuard[str]:
    """Whether a constant is a string."""
    return isinstance(value, str)


def titles_of(tree: ast.Module) -> Iterator[str]:
    """The titles of steps, the labels of operations and the notes of what is waited for: keys without data."""
    for each in ast.walk(tree):
        if isinstance(each, ast.Call) and (place := TITLED.get(name_of(each))) is not None:
            found = each.args[place:] and each.args[place]
            if isinstance(found, ast.Constant) and isinstance(found.value, str):
                yield found.value
            # What a plan tells of it is never a string made on the spot.
            for word in each.keywords if name_of(each) == "Step" else ():
                assert word.arg != "describe" or not has_formatted(word.value), each.lineno
        if isinstance(each, ast.ClassDef):
            named = {
                target.id: told.value
                for told in each.body
                if isinstance(told, ast.Assign)
                for target in told.targets
                if isinstance(target, ast.Name)
            }
            if "name" in named and isinstance(label := named.get("label"), ast.Constant):
                yield str(label.value)


def states_of(tree: ast.Module) -> Iterator[str]:
    """What requirements and refusals say of an object's state: sentences, or the words for it."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            said = [call.args[place] for place in REQUIRED.get(name_of(call), ()) if call.args[place:]]
            if name_of(call) == "WrongState" and not call.args:
                said += [each.value for each in call.keywords if each.arg == "state"]
            yield from (
                each.value for one in said for each in either(one) if isinstance(each, ast.Constant) and each.value
            )


def formatted_in(tree: ast.Module) -> Iterator[int]:
    """The lines of the f-strings that a module's errors and task logs have for sentences, named or in their calls."""
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.FunctionDef):
            continue
        named = {
            target.id: each.value
            for each in ast.walk(scope)
            if isinstance(each, ast.Assign) and has_formatted(each.value)
            for target in each.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(scope):
            if isinstance(call, ast.Call) and call.args and name_of(call) in (*SAYING, *CLASSES):
                first = call.args[SAYING.get(name_of(call), 0)]
                found = named.get(first.id, first) if isinstance(first, ast.Name) else first
                if has_formatted(found):
                    yield found.lineno


def has_formatted(value: ast.expr) -> bool:
    """Whether the sentence is an f-string; what fills a Text may be one."""
    if isinstance(value, ast.Call):
        return False
    return isinstance(value, ast.JoinedStr) or any(
        has_formatted(each) for each in ast.iter_child_nodes(value) if isinstance(each, ast.expr)
    )


def name_of(call: ast.Call) -> str:
    """What is called, without what it is an attribute of."""
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def either(value: ast.expr) -> list[ast.expr]:
    """Both values of a conditional expression, else the one."""
    return [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]


def in_source() -> set[str]:
    """All of the panel's, and the notes of the agent that have no numbers."""
    found = {each.sentence for each in CLASSES.values()} | set(deeds.SENTENCES.values()) | set(Cause.labels)
    found |= {*PoolFault.labels, *(each.lower() for each in NodeState.labels)} | set(said_of_options())
    for path in [*(TOP / "panel").rglob("*.py"), *(TOP / "nodeagent").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        found |= set(titles_of(tree))
        if path.is_relative_to(TOP / "panel"):
            found |= set(templates_of(tree)) | set(states_of(tree))
    # What rows have, where a refusal takes their state for its word.
    found |= {str(each) for each in (*VmStatus.values, *Status.values)}
    found |= {str(each).lower() for each in (*NodeState.labels, *SnapshotState.labels)}
    return found - {""}


def said_of_options() -> Iterator[str]:
    """What is said of an option's value, but for what Python's own functions say."""
    tree = ast.parse((TOP / "panel" / "option_values.py").read_text())
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and name_of(call) == "ValueError":
            yield ast.literal_eval(call.args[0])


ACTION = re.compile(
    r"(flavor|image|iso|node|problem|role|session|ssh_key|token|user|webhook)\.(?!name$|newkey$|html$)[a-z_]+"
)


def test_every_action_of_the_journal_that_is_no_operation_has_a_sentence() -> None:
    written = {path: path.read_text() for path in (TOP / "panel").rglob("*.py")}
    trees = [ast.parse(text) for path, text in written.items() if "journal.record(" in text]
    words = {each.value for tree in trees for each in ast.walk(tree) if isinstance(each, ast.Constant)}
    assert {word for word in words if isinstance(word, str) and ACTION.fullmatch(word)} == deeds.SENTENCES.keys()


def fields(template: str) -> set[str]:
    """The named fields of a template, with their formats."""
    return {f"{name}:{form}" for _, name, form, _ in Formatter().parse(template) if name is not None}


def test_every_sentence_of_the_source_has_a_russian_one_with_the_same_fields() -> None:
    russian = catalogue.read(PO)
    missing = sorted(in_source() - russian.keys())
    assert not missing, f"to be added to {PO.relative_to(TOP)}: {missing}"
    assert not [each for each, told in russian.items() if fields(each) != fields(told)]


def test_no_key_stands_in_two_places() -> None:
    keys = Counter(each.key for each in catalogue.entries(PO) if each.msgid)
    assert not [key for key, times in keys.items() if times > 1]


def test_no_sentence_is_an_f_string() -> None:
    panel = TOP / "panel"
    found = {path.relative_to(panel): list(formatted_in(ast.parse(path.read_text()))) for path in panel.rglob("*.py")}
    assert not {path: lines for path, lines in found.items() if lines}


def test_no_language_is_english() -> None:
    assert NotFound(object="vm", id=7).message == "There is no vm “7”."
    error = InvalidValue(Text("“{name}” is 1 or 0.", {"name": "plan"}), field="plan")
    assert (error.message, str(error)) == ("“plan” is 1 or 0.",) * 2
    assert shown(error.stored(), nodes=True) == error.as_dict()


@pytest.mark.usefixtures("russian")
def test_a_stored_error_is_shown_in_the_reader_s_language() -> None:
    assert shown(NotFound(object="vm", id=7).stored(), nodes=True)["message"] == "Не найдено: ВМ «7»."
    own = InvalidValue(Text("“{name}” is 1 or 0.", {"name": "plan"}), field="plan")
    assert shown(own.stored(), nodes=True) == {**own.as_dict(), "message": "«plan» принимает значение 1 или 0."}


@pytest.mark.usefixtures("russian")
@pytest.mark.parametrize("said", ["VM {7} would not, {node}", "There is no vm “{id}”.", ""])
def test_what_another_program_said_or_an_earlier_release_stored_stays(said: str) -> None:
    stored = {"code": "not_found", "message": said, "id": 7}
    assert shown(stored, nodes=True) == stored


def test_a_node_that_may_not_be_known_is_not_in_the_sentence() -> None:
    away = NodeUnreachable(node="rack7", reason="no answer").stored()
    failed = CommandFailed(node="rack7", command="pool_info", text="no {node}").stored()
    assert shown(away, nodes=False)["message"] == "The node cannot be reached: no answer."
    assert shown(failed, nodes=False)["message"] == "“pool_info” failed on the node: no {node}"
    assert shown(away, nodes=True)["message"] == "The node “rack7” cannot be reached: no answer."


def test_a_node_that_a_sentence_cannot_do_without_is_any_node() -> None:
    names = {"other_node": "rack7", "target_node": "rack8"}
    text = Text("“{other_node}” is not “{target_node}”, and {text}", {**names, "text": "“x”"})
    assert text.english == "“rack7” is not “rack8”, and “x”"
    assert text.shown(nodes=False) == "a node is not a node, and “x”"


@pytest.mark.usefixtures("russian")
def test_nor_is_it_in_another_language() -> None:
    data = {"node": "rack7", "reason": "?", "command": "?", "text": "?", "seconds": 1, "agent": 1, "panel": 2}
    for each in CLASSES.values():
        if "{node}" in each.sentence:
            told = shown(each(**data).stored(), nodes=False)["message"]
            assert told != each.sentence and "rack7" not in told and "«»" not in told, told


@pytest.mark.usefixtures("russian")
def test_a_text_that_holds_another_comes_back_from_its_row() -> None:
    error = NodeUnreachable(node="rack7", reason="?").text
    text = Text.from_dict(json.loads(json.dumps(Text(TRYING_AGAIN, {"error": error, "seconds": 2}).as_dict())))
    assert text.english == "The node “rack7” cannot be reached: ?. Trying again in 2 s."
    assert text.shown(nodes=True) == "Узел «rack7» недоступен: ?. Повтор через 2 с."
    assert text.shown(nodes=False) == "Узел недоступен: ?. Повтор через 2 с."


@pytest.mark.usefixtures("russian")
def test_a_worker_s_machine_is_no_customer_s_business() -> None:
    text = Text(LOST_AT_END, {"worker": "w1@panel7", "successor": "w2@panel8"})
    assert "panel" in text.shown(nodes=True) and "panel" not in text.shown(nodes=False)


@pytest.mark.parametrize(
    ("asked", "language"),
    [("ru", "ru"), ("ru-RU,en;q=0.5", "ru"), ("fr,ru;q=0.3", "ru"), ("ru;q=0.2,en", "en"), ("*", "en"), ("\x00", "en"),
     ("", "en"), ("ru;q=0", "en")],
)  # fmt: skip
def test_the_first_language_that_there_is_a_catalogue_of(asked: str, language: str) -> None:
    assert preferred(asked) == language


@pytest.mark.usefixtures("russian")
@pytest.mark.parametrize(
    ("said", "shown_as"),
    [
        ("1 of 3 MiB sent", "передано 1 из 3 МиБ"),
        ("checking the image", "проверка образа"),
        ("2 of 3", "2 of 3"),
        ("{done}",) * 2,
    ],
)
def test_what_an_agent_measures_is_worded_by_the_numbers_that_it_tells(said: str, shown_as: str) -> None:
    assert worded(Progress(1 << 20, 3 << 20, said)).shown(nodes=True) == shown_as


@pytest.mark.usefixtures("russian")
def test_snapshots_that_were_taken_by_hand_are_told_with_the_ways_out() -> None:
    rows = [{"name": name, "external": name == "out", "created_at": "2026-11-30T10:00:00Z"} for name in ("in", "out")]
    told = from_row(json.loads(json.dumps(in_row(unmanaged_told(rows)))))
    assert "not take: “in” (internal, 2026-11-30T10:00), “out” (external, 2026-11-30T10:00). Until" in told.english
    shown_as = told.shown(nodes=False)
    assert "«in» (внутренний, 2026-11-30T10:00), «out» (внешний" in shown_as and "Внешние: с тех пор" in shown_as
    assert from_row("Of an earlier release: {x}.").english == "Of an earlier release: {x}."
