"""How files of the pages are sent."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from django.http.response import HttpResponseBase
from django.test import RequestFactory

from panel.web import assets

SCRIPT = "console.log('a script that is long enough');"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of which one was compressed when it was fetched."""
    monkeypatch.setattr(assets, "FOLDER", tmp_path)
    for name in ("fetched.js", "own.js", "picture.png"):
        (tmp_path / name).write_text(SCRIPT)
    (tmp_path / "fetched.js.br").write_bytes(b"as brotli has it")
    return tmp_path


def _sent(name: str, accepted: str) -> tuple[HttpResponseBase, bytes]:
    answer = assets.serve(RequestFactory().get("/", headers={"accept-encoding": accepted}), name)
    return answer, b"".join(answer)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "accepted", "coding"),
    [
        ("fetched.js", "gzip, deflate, br, zstd", "br"),
        ("fetched.js", "gzip, br;q=0", "gzip"),
        ("fetched.js", "identity", None),
        ("own.js", "gzip, br", "gzip"),
        ("picture.png", "gzip, br", None),
    ],
)
def test_a_file_comes_in_the_best_coding_that_the_browser_takes(name: str, accepted: str, coding: str | None) -> None:
    answer, content = _sent(name, accepted)
    assert answer.headers.get("Content-Encoding") == coding
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert "javascript" in answer.headers["Content-Type"] or name == "picture.png"
    read = {"br": lambda: b"as brotli has it", "gzip": lambda: gzip.decompress(content), None: lambda: content}[coding]
    assert read() == (b"as brotli has it" if coding == "br" else SCRIPT.encode())
    assert coding != "br" or content == b"as brotli has it"
