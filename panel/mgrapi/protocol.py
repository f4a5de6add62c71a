"""What a classic call sends and reads: parameters, and documents as XML or JSON.

An answer is one document: `<doc><ok/><tparams>…</tparams></doc>`, or `<doc><error type="…" object="…">
<msg>…</msg></error></doc>`. There is no white space between tags. In JSON a text is `{"$": "…"}`, and an
attribute `"$name"`.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse

from panel.core.errors import (
    AccessDenied,
    AlreadyExists,
    BadCredentials,
    InvalidValue,
    MissingValue,
    NotFound,
    PanelError,
)

NEVER_ECHOED = ("authinfo", "auth", "password", "passwd", "key", "sok")
FIRST_ECHOED = ("elid", "out", "func")
TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
"""Names of parameters that answers repeat: those that can be tags."""
TYPES: tuple[tuple[type[PanelError], str], ...] = (
    (BadCredentials, "auth"),
    (AccessDenied, "access"),
    (AlreadyExists, "exists"),
    (MissingValue, "missed"),
    (NotFound, "missed"),
    (InvalidValue, "value"),
)


class Call:
    """One classic call: GET parameters or a POST form."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        given = request.POST if request.method == "POST" else request.GET
        self.params: Mapping[str, str] = {name: value for name, value in given.items() if isinstance(value, str)}

    @property
    def func(self) -> str:
        """The name of the function, as "vmwatch.configure"."""
        return self.params.get("func", "")

    @property
    def out(self) -> str:
        """The form of the answer: "json", or "xml" for everything else."""
        return "json" if self.params.get("out", "").lower() in ("json", "jsondata", "sjson", "bjson") else "xml"

    def flag(self, name: str) -> bool:
        """A parameter that is on or off."""
        return self.params.get(name, "") in ("on", "yes", "1")

    def tparams(self) -> dict[str, str]:
        """What was sent, as answers repeat it: never what proves who sent it."""
        names = [name for name in FIRST_ECHOED if name in self.params]
        names += sorted(name for name in self.params if name not in (*FIRST_ECHOED, *NEVER_ECHOED))
        return {name: self.params[name][:1024] for name in names if TAG.match(name)}


def success(call: Call, values: Mapping[str, str]) -> HttpResponse:
    """It was done; `values` are what it made."""
    if call.out == "json":
        return _json({"doc": {**_texts(values), "ok": {}, "tparams": _texts(call.tparams())}})
    doc = ET.Element("doc")
    for name, value in values.items():
        ET.SubElement(doc, name).text = value
    ET.SubElement(doc, "ok")
    echoed = ET.SubElement(doc, "tparams")
    for name, value in call.tparams().items():
        ET.SubElement(echoed, name).text = _printable(value)
    return _xml(doc)


def failure(call: Call, error: PanelError) -> HttpResponse:
    """It was refused, with the classic type and the object or field that is wrong."""
    kind = next((name for cls, name in TYPES if isinstance(error, cls)), "msg")
    about = str(error.data.get("field") or error.data.get("object") or error.code)
    if isinstance(error, BadCredentials):
        about = "badpassword"
    if call.out == "json":
        return _json({"doc": {"error": {"$type": kind, "$object": about, "msg": {"$": error.message}}}})
    doc = ET.Element("doc")
    element = ET.SubElement(doc, "error", {"type": kind, "object": _printable(about)})
    ET.SubElement(element, "msg").text = _printable(error.message)
    return _xml(doc)


def _texts(values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"$": value} for name, value in values.items()}


def _printable(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(character for character in text if character.isprintable() or character in "\t\n")


def _xml(doc: ET.Element) -> HttpResponse:
    # Clients expect 200 also for an error: they read the document.
    content = b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(doc, encoding="utf-8")
    return HttpResponse(content, content_type="text/xml; charset=UTF-8")


def _json(document: object) -> HttpResponse:
    return HttpResponse(json.dumps(document, ensure_ascii=False), content_type="application/json; charset=UTF-8")
