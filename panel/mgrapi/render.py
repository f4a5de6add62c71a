"""Answers as XML, JSON or text; page_json.py has the JSON of the old pages.

XML has no white space between tags. In JSON a text is `{"$": "…"}`, an attribute `"$name"`, and what may be
repeated is an array, also where there is one of it. Text has a row or a value a line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from django.http import HttpResponse

from panel.mgrapi.documents import Document, Done, Element, Form, Rows, SignedIn, cells
from panel.mgrapi.page_json import page_json

REPEATED = ("elem", "slist", "val")
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def render(answer: Document, out: str, echoed: Mapping[str, str]) -> HttpResponse:
    """The answer in the form that was asked for; 200 also for an error, since clients read the document."""
    if out == "page":
        content = json.dumps(page_json(answer, echoed.get("elid", "")), ensure_ascii=False)
        return _response(content, "application/json")
    elements = _done(answer, echoed) if isinstance(answer, Done) else answer.elements()
    if out == "json":
        doc: dict[str, Any] = {"elem": []} if isinstance(answer, Rows) else {}
        content = json.dumps({"doc": {**doc, **_children(elements)}}, ensure_ascii=False)
        return _response(content, "application/json")
    if out == "text":
        return _response(_text(answer), "text/plain")
    return _response(DECLARATION + _xml(Element("doc", children=elements)), "text/xml")


def _response(content: str, kind: str) -> HttpResponse:
    return HttpResponse(content.encode("utf-8", "replace"), content_type=f"{kind}; charset=UTF-8")


def _done(answer: Done, echoed: Mapping[str, str]) -> list[Element]:
    return [*cells(answer.values), Element("ok"), Element("tparams", children=cells(echoed))]


def _xml(element: Element) -> str:
    attributes = "".join(f' {name}="{_attribute(value)}"' for name, value in element.attributes.items())
    inside = escape(printable(element.text)) + "".join(_xml(child) for child in element.children)
    return f"<{element.name}{attributes}>{inside}</{element.name}>" if inside else f"<{element.name}{attributes}/>"


def _attribute(value: str) -> str:
    return escape(printable(value), {'"': "&quot;", "\n": "&#10;", "\t": "&#9;"})


def printable(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(character for character in text if character.isprintable() or character in "\t\n")


def _children(elements: Sequence[Element]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element in elements:
        if element.name in REPEATED:
            found.setdefault(element.name, []).append(_json(element))
        else:
            found[element.name] = _json(element)
    return found


def _json(element: Element) -> dict[str, Any]:
    value: dict[str, Any] = {f"${name}": text for name, text in element.attributes.items()}
    if element.words is not None:
        return {"$orig": element.text, **value, "$": element.words}
    if element.name == "ok":
        return value
    if element.children or element.name in ("elem", "tparams", "error"):
        return {**value, **_children(element.children)}
    return {**value, "$": element.text}


def _text(answer: Document) -> str:
    if isinstance(answer, Rows):
        lines = [" ".join(f"{each.name}={_line(each.text)}" for each in cells(row)) for row in answer.rows]
    elif isinstance(answer, Form):
        lines = [f"{each.name}={_line(each.text)}" for each in cells(answer.values)]
    elif isinstance(answer, Done):
        lines = ["OK", *(f"{each.name}={_line(each.text)}" for each in cells(answer.values))]
    elif isinstance(answer, SignedIn):
        lines = [answer.session]
    else:
        lines = [f"ERROR {answer.kind}({_line(answer.about)}) {_line(answer.message)}"]
    return "".join(f"{line}\n" for line in lines)


def _line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
