"""What a classic call sends: its parameters, read with clear errors that name them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, UnreadablePostError
from django.http.multipartparser import MultiPartParserError

from panel.core.errors import InvalidValue, MissingValue
from panel.core.wording import Text

NEVER_ECHOED = (
    "authinfo", "auth", "password", "passwd", "old_passwd", "confirm", "code", "key", "sshpubkey", "sok", "su",
)  # fmt: skip
FIRST_ECHOED = ("elid", "out", "func")
TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
"""Names of parameters that answers repeat: those that can be tags."""
JSON_FORMS = ("json", "jsondata", "sjson", "bjson", "xjson")
MOST_ELIDS = 100
LARGEST = 2**31 - 1
NUMBER = re.compile(r"[0-9]{1,10}\Z")
ON = ("on", "yes", "1", "ok")


class Call:
    """One classic call: parameters of the address, and of a POST form, which come first.

    Raises InvalidValue for a form that cannot be read.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.params: Mapping[str, str] = {}
        try:
            self.params = {**request.GET.dict(), **request.POST.dict()}
        except (BadRequest, SuspiciousOperation, MultiPartParserError, UnreadablePostError) as error:
            raise InvalidValue("The form cannot be read.", field="form") from error

    @property
    def func(self) -> str:
        """The name of the function, as "vmwatch.configure"."""
        return self.params.get("func", "").strip()

    @property
    def out(self) -> str:
        """The form of the answer: "json", "text", "xml" also for unknown ones, "page" (the old pages' own JSON) where
        none is asked for, or "" for a browser, which is shown a page."""
        asked = self.params.get("out", "").lower()
        if not asked:
            return "" if self.from_browser else "page"
        return "json" if asked in JSON_FORMS else asked if asked == "text" else "xml"

    @property
    def from_browser(self) -> bool:
        """Whether a person follows a link or sends a form: a program takes anything, a script of a page says `ajax`."""
        return "text/html" in self.request.headers.get("Accept", "") and self.params.get("sfrom") != "ajax"

    @property
    def sok(self) -> bool:
        """Whether a form is sent, rather than asked for."""
        return bool(self.params.get("sok"))

    def text(self, *names: str) -> str:
        """The first of these parameters that is not empty, else ""."""
        return next((value for name in names if (value := self.params.get(name, "").strip())), "")

    def need(self, *names: str) -> str:
        """As text(); raises MissingValue naming the first of them."""
        if not (value := self.text(*names)):
            raise MissingValue(field=names[0])
        return value

    def flag(self, name: str) -> bool:
        """A parameter that is on or off."""
        return self.params.get(name, "").lower() in ON

    def number(self, name: str) -> int | None:
        """A number from 0, None where it is not given; raises InvalidValue."""
        value = self.text(name)
        if not value:
            return None
        if not NUMBER.match(value) or int(value) > LARGEST:
            raise InvalidValue(Text("“{name}” must be a number.", {"name": name}), field=name)
        return int(value)

    def elids(self) -> list[str]:
        """What the call is about, at least one; raises MissingValue or InvalidValue."""
        found = [each for part in self.need("elid").split(",") if (each := part.strip())]
        if len(found) > MOST_ELIDS:
            raise InvalidValue(Text("“elid” names at most {most} at once.", {"most": MOST_ELIDS}), field="elid")
        if not found:
            raise MissingValue(field="elid")
        return list(dict.fromkeys(found))

    def ids(self, name: str = "elid") -> list[int]:
        """What the call is about, by number; raises MissingValue or InvalidValue."""
        return [_id(each, name) for each in self.elids()]

    def id(self, name: str = "elid") -> int:
        """The one object that the call is about; raises MissingValue or InvalidValue."""
        return _id(self.need(name), name)

    def tparams(self) -> dict[str, str]:
        """What was sent, as answers repeat it: never what proves who sent it."""
        names = [name for name in FIRST_ECHOED if name in self.params]
        names += sorted(name for name in self.params if name not in (*FIRST_ECHOED, *NEVER_ECHOED))
        return {name: self.params[name][:1024] for name in names if TAG.match(name)}


def _id(text: str, name: str) -> int:
    if not NUMBER.match(text):
        raise InvalidValue(Text("“{name}” must be an object's number.", {"name": name}), field=name)
    return int(text)
