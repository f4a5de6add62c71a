"""The JSON that VMmanager's own pages got, which programs ask for by naming no `out`, or `sfrom=ajax`.

Rows are `content`, a cell is `{"v": …}`, refusals are a list `message`. Anything else of the old pages' is not there.
"""

from __future__ import annotations

from typing import Any

from panel.mgrapi.documents import Cell, Document, Done, Failure, Form, Rows, Translated

ON = ("running", "paused")
OFF = ("stopped", "crashed", "missing")


def page_json(answer: Document, elids: str) -> dict[str, Any]:
    """The answer; `elids` are what the call was about."""
    if isinstance(answer, Failure):
        return _refused(answer, elids)
    if isinstance(answer, Rows):
        return {"content": [_row(row) for row in answer.rows]}
    if isinstance(answer, Form):
        lists = {
            name: [{"k": key, "v": label} for key, label in every.items()] for name, every in answer.choices.items()
        }
        return {"content": [_row(answer.values)], **({"lists": lists} if lists else {})}
    if isinstance(answer, Done):
        return {"ok": True, **{name: value["v"] for name, value in _row(answer.values).items()}}
    return {"ok": True, "auth": answer.session, "level": str(answer.level)}


def _refused(answer: Failure, elids: str) -> dict[str, Any]:
    about = {"status": "error", "type": answer.kind, "object": answer.about, "msg": answer.message}
    named = [each.strip() for each in elids.split(",") if each.strip()]
    return {"message": [about], "warning": {each: {"msg": answer.message} for each in named}}


def _row(row: Any) -> dict[str, Any]:
    found: dict[str, Any] = {name: _cell(value) for name, value in row.items() if value not in (None, False)}
    if isinstance(status := row.get("vmstatus"), Translated):
        # Two icons: what the VM does, and whether it is on.
        found["status"] = {"props": [{"n": status.value, "t": status.words}, {"v": _on(status.value)}]}
    return found


def _cell(value: Cell) -> dict[str, str]:
    if isinstance(value, Translated):
        return {"v": value.words, "orig": value.value}
    return {"v": "on" if value is True else str(value)}


def _on(status: str) -> str:
    return "on" if status in ON else "off" if status in OFF else "unknown"
