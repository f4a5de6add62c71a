"""Files of the pages: style, scripts, icons, noVNC. In front of a busy panel nginx may serve them.

Their addresses have a hash of all of them, so a browser keeps them for good and never mixes those of two releases;
scripts name each other by relative addresses and stay within it. What npm brought is compressed by brotli when it is
fetched (script/bootstrap): it stands beside each file as NAME.br.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

FOLDER = Path(__file__).parent / "static"
FOR_GOOD = "public, max-age=31536000, immutable"
SHORTLY = "max-age=300"
COMPRESSED = frozenset({".css", ".js", ".svg", ".json", ".html"})
IMPORT = re.compile(r'^import (?:[^"\n]* from )?"\./([\w/.-]+\.js)";', re.MULTILINE)
"""How our scripts name each other; those of npm have no modules that a page needs at once."""
OF_FILES = "default-src 'none'; script-src 'self'; connect-src 'self'"
OWN_POLICY = (".svg", ".html", "_worker.js")
"""Ends of names of what a browser may show, or run, by itself; all else has the policy of the page that loads it."""


class AssetsMiddleware:
    """Answers for files before anything else does: they are everybody's, and headers of pages weigh more than many."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        of, _, name = request.path.removeprefix("/assets/").partition("/")
        if request.method not in ("GET", "HEAD") or not request.path.startswith("/assets/") or of != release():
            return self.get_response(request)
        try:
            response = serve(request, name, of)
        except Http404:
            return self.get_response(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        if name.endswith(OWN_POLICY):
            response.headers["Content-Security-Policy"] = OF_FILES
        return response


@cache
def release() -> str:
    """The hash of all files as they were when the panel started."""
    found = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            stat = path.stat()
            # What npm brought is known by its size; our own files by what they say.
            own = path.read_bytes() if "vendor" not in path.parts else str(stat.st_size).encode()
            found.update(str(path.relative_to(FOLDER)).encode() + b"\0" + own)
    return found.hexdigest()[:12]


def address(name: str) -> str:
    """Where a browser finds the file."""
    return f"/assets/{release() if not settings.DEBUG else 'now'}/{name}"


def serve(request: HttpRequest, name: str, of: str = "") -> HttpResponseBase:
    """The file; compressed for whoever takes that. `of` is the release that its address has."""
    path = (FOLDER / name).resolve()
    if not path.is_relative_to(FOLDER.resolve()) or not path.is_file():
        raise Http404("There is no such file.")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    response: HttpResponseBase
    if path.suffix not in COMPRESSED:
        response = FileResponse(path.open("rb"), content_type=kind)
    elif _takes(request, "br") and (ready := path.with_name(f"{path.name}.br")).is_file():
        response = FileResponse(ready.open("rb"), content_type=kind, headers={"Content-Encoding": "br"})
    elif _takes(request, "gzip"):
        packed = _compressed(path, path.stat().st_mtime_ns)
        response = HttpResponse(packed, content_type=kind, headers={"Content-Encoding": "gzip"})
    else:
        response = FileResponse(path.open("rb"), content_type=kind)
    patch_vary_headers(response, ["Accept-Encoding"])
    response.headers["Cache-Control"] = "no-cache" if settings.DEBUG else FOR_GOOD if of == release() else SHORTLY
    return response


def _takes(request: HttpRequest, coding: str) -> bool:
    """Whether the browser takes answers in that coding (RFC 9110, 12.5.3)."""
    for each in request.headers.get("Accept-Encoding", "").split(","):
        name, _, weight = each.partition(";")
        if name.strip() == coding:
            return weight.strip() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


@cache
def _compressed(path: Path, changed: int) -> bytes:
    return gzip.compress(path.read_bytes(), 9)


@cache
def imported(name: str) -> tuple[str, ...]:
    """The modules that a script of ours imports, and those that these import: a browser learns of them too late."""
    found: dict[str, None] = {}
    _follow(name, found)
    return tuple(each for each in found if each != name)


def _follow(name: str, found: dict[str, None]) -> None:
    found[name] = None
    for each in IMPORT.findall((FOLDER / name).read_text(encoding="utf-8")):
        if (other := str(Path(name).parent / each)) not in found:
            _follow(other, found)


@cache
def icon(name: str) -> str:
    """The SVG of one of Bootstrap's icons, to stand within a page; raises FileNotFoundError for none of them."""
    return (FOLDER / "vendor" / "icons" / f"{name}.svg").read_text(encoding="ascii").replace("\n", "")
