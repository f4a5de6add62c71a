"""How the dump of a release is written and read: SQL with a line a row, and beside it what waits outside of it.

Two of one commit differ in times that are sealed alone: chance is seeded, and times are put in their order on one day.
"""

from __future__ import annotations

import json
import lzma
import os
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from panel.standalone import private

FOLDER = Path(__file__).parent / "dumps"
KEY = "the key of the dumps of releases: it opens nothing but what their tests have sealed"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?")
_SECONDS = re.compile(r"\b1[78]\d{8}\.\d+")
_PARTS = re.compile(r"\b1[78]\d{11}(?:\d{3})?\b")
"""Milliseconds, or microseconds, since 1970."""


@contextmanager
def without_chance() -> Iterator[None]:
    """What the operating system says of chance is the same every time; what is sealed, is with the key of the dumps."""
    chance = random.Random(20)
    kept = os.urandom, random._urandom, settings.SECRET_KEY  # type: ignore[attr-defined]
    os.urandom = random._urandom = chance.randbytes  # type: ignore[attr-defined,assignment]
    settings.SECRET_KEY = KEY
    try:
        yield
    finally:
        os.urandom, random._urandom, settings.SECRET_KEY = kept  # type: ignore[attr-defined]


def write(release: str, messages: dict[str, Any]) -> list[Path]:
    """Write the database and the messages; answers the files."""
    argv = ["--compact", "--skip-extended-insert", "--hex-blob", "--order-by-primary", "--complete-insert"]
    done = subprocess.run([*_client("mariadb-dump"), *argv, _name()], check=True, capture_output=True, text=True)
    ours = [line for line in done.stdout.splitlines() if not line.startswith("INSERT INTO `auth_permission`")]
    text = _in_order("\n".join([*ours, "", json.dumps(messages, indent=1, sort_keys=True)]))
    sql, _, told = text.rpartition("\n\n{")
    files = [FOLDER / f"{release}.sql.xz", FOLDER / f"{release}.json"]
    files[0].write_bytes(lzma.compress(sql.encode() + b"\n", preset=9 | lzma.PRESET_EXTREME))
    files[1].write_text("{" + told + "\n", encoding="utf-8")
    return files


def _in_order(text: str) -> str:
    """The text with its times a second apart, in the order in which they were."""
    times = sorted({each.replace("T", " ") for each in _TIME.findall(text) if not _is_whole(each)})
    put = {each: BEGIN + timedelta(seconds=number) for number, each in enumerate(times)}

    def replace(match: re.Match[str]) -> str:
        found = match.group()
        at = put.get(found.replace("T", " "), BEGIN).strftime("%Y-%m-%d %H:%M:%S")
        return f"{at[:10]}{found[10]}{at[11:]}" + (".000000" if "." in found else "")

    parts = {each: number for number, each in enumerate(sorted(set(_PARTS.findall(text))))}
    text = _PARTS.sub(lambda match: str(int(BEGIN.timestamp()) * 10 ** (len(match[0]) - 10) + parts[match[0]]), text)
    return _SECONDS.sub(f"{BEGIN.timestamp():.1f}", _TIME.sub(replace, text))


def _is_whole(time: str) -> bool:
    """Whether it has no fraction, so that others may be of the same second or not, by chance."""
    return not time.partition(".")[2].strip("0")


def releases() -> list[str]:
    """The releases that left a dump."""
    return sorted(path.name.removesuffix(".sql.xz") for path in FOLDER.glob("*.sql.xz"))


def messages_of(release: str) -> dict[str, Any]:
    """What waited outside of the release's database."""
    found: dict[str, Any] = json.loads((FOLDER / f"{release}.json").read_text(encoding="utf-8"))
    return found


@contextmanager
def loaded(release: str) -> Iterator[None]:
    """The tests' database is another one meanwhile: the release's, not migrated yet."""
    socket, own = Path(settings.CONFIG.database_socket), _name()
    private.create_database(socket, name := f"release_{release.replace('.', '_')}")
    with lzma.open(FOLDER / f"{release}.sql.xz") as sql:
        text = b"SET FOREIGN_KEY_CHECKS=0; SET UNIQUE_CHECKS=0; SET AUTOCOMMIT=0;\n" + sql.read() + b"COMMIT;\n"
    subprocess.run([*_client("mariadb"), name], input=text, check=True)
    _use(name)
    key, settings.SECRET_KEY = settings.SECRET_KEY, KEY
    try:
        yield
    finally:
        settings.SECRET_KEY = key
        _use(own)


def _use(name: str) -> None:
    connection.close()
    connection.settings_dict["NAME"] = name


def _name() -> str:
    return str(connection.settings_dict["NAME"])


def _client(program: str) -> list[str]:
    return [program, "--no-defaults", f"--socket={settings.CONFIG.database_socket}", "-u", "root"]
