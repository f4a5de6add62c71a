"""Databases as the migrations make them, from a dump: migrating takes ten times as long as reading that.

The first run after a change of any migration migrates and writes the dump below var/; those at work beside it wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import django

from panel.standalone import private
from panel.standalone.options import TOP

FOLDER = TOP / "var" / "tests"
FRESH = "vmpanel_fresh"
"""The database that is migrated to be dumped."""


def fill(socket: Path, database: str) -> None:
    """Have a database of this name with every migration applied; one that is there is left as it is."""
    if database in _rows(socket, "SHOW DATABASES"):
        return
    private.create_database(socket, database)
    with _dump(socket).open("rb") as dump:
        subprocess.run([*_client("mariadb", socket), database], stdin=dump, check=True)


def _dump(socket: Path) -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"migrated-{_key()}.sql"
    with (FOLDER / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            for old in FOLDER.glob("migrated-*.sql"):
                old.unlink()
            _write(socket, path)
    return path


def _write(socket: Path, path: Path) -> None:
    private.create_database(socket, FRESH)
    conf = socket.with_name("fresh.conf")
    text = f"VarDir={socket.parent}/var\nLogDir={socket.parent}/log\nDatabaseSocket={socket}\nDatabaseUser=root\n"
    conf.write_text(f"{text}DatabaseName={FRESH}\n", encoding="utf-8")
    environment = {**os.environ, "VMPANEL_CONF": str(conf), "DJANGO_SETTINGS_MODULE": "panel.settings"}
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=TOP, env=environment, check=True)
    partial = path.with_suffix(".part")
    with partial.open("wb") as dump:
        subprocess.run([*_client("mariadb-dump", socket), FRESH], stdout=dump, check=True)
    partial.rename(path)


def _key() -> str:
    """What the tables depend on: our migrations, and Django's of this version."""
    digest = hashlib.sha256(django.__version__.encode())
    for path in sorted((TOP / "panel").glob("*/migrations/*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _rows(socket: Path, statement: str) -> list[str]:
    done = subprocess.run(
        [*_client("mariadb", socket), "-N", "-B", "-e", statement], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def _client(program: str, socket: Path) -> list[str]:
    return [program, "--no-defaults", f"--socket={socket}", "-u", "root"]
