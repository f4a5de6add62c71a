"""A MariaDB and a Redis of our own: data in a folder, Unix sockets, no ports, nothing of the machine's touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

LONGEST_SOCKET_PATH = 107
"""What sockaddr_un holds (unix(7))."""


class Unfit(Exception):
    """The machine cannot do what was asked; the sentence is for its owner."""


def sockets(folder: Path) -> tuple[Path, Path]:
    """Where MariaDB's and Redis's sockets are; raises Unfit for a folder with too long a path."""
    found = folder / "mysql.sock", folder / "redis.sock"
    if len(str(found[0].resolve())) > LONGEST_SOCKET_PATH:
        raise Unfit(f"The path {folder} is too long for a Unix socket; choose a shorter folder.")
    return found


def prepare_database(data: Path) -> None:
    """A new data folder, where there is none; an existing one is left as it is. Raises Unfit."""
    if (data / "mysql").is_dir():
        return
    partial = data.with_name(f"{data.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={partial}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            f"--user={_user()}",
        ],
        # As below: what starts deletes the temporary tables of every other that has the same folder.
        env={**os.environ, "TMPDIR": str(partial.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unfit(f"MariaDB's data folder could not be made: {_last(done.stderr or done.stdout)}")
    partial.rename(data)


def mariadb_argv(data: Path, socket: Path, *, durable: bool = True) -> list[str]:
    """The private MariaDB; small, since it serves one panel. Not `durable` is for tests."""
    return [
        shutil.which("mariadbd") or "/usr/sbin/mariadbd",
        "--no-defaults",
        f"--datadir={data}",
        f"--socket={socket}",
        # One that starts deletes the temporary tables of every other that has the same folder.
        f"--tmpdir={data}",
        f"--pid-file={data}/mariadb.pid",
        f"--user={_user()}",
        "--skip-networking",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=48M",
        "--performance-schema=off",
        "--max-connections=200",
        f"--innodb-flush-log-at-trx-commit={1 if durable else 2}",
        "--character-set-server=utf8mb4",
        "--skip-log-bin",
    ]


def redis_argv(folder: Path, socket: Path) -> list[str]:
    """The private Redis; it keeps nothing, since nothing in it is needed after a restart."""
    return [
        shutil.which("redis-server") or "/usr/bin/redis-server",
        "--port",
        "0",
        "--unixsocket",
        str(socket),
        "--unixsocketperm",
        "700",
        "--save",
        "",
        "--dir",
        str(folder),
    ]


def answers(socket: Path) -> bool:
    """Whether the MariaDB at the socket takes connections."""
    return not subprocess.run(
        ["mariadb-admin", "--no-defaults", f"--socket={socket}", "-u", "root", "--connect-timeout=2", "ping"],
        capture_output=True,
        check=False,
    ).returncode


def create_database(socket: Path, name: str) -> None:
    """Have the database; `name` is ours, never a caller's. Raises Unfit."""
    statement = f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4"
    argv = ["mariadb", "--no-defaults", f"--socket={socket}", "-u", "root", "-e", statement]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unfit(f"The database could not be made: {_last(done.stderr)}")


def _user() -> str:
    # As root it may stay root: the socket is in a folder that only root enters.
    return "root" if os.geteuid() == 0 else str(os.environ.get("USER", "nobody"))


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason was given"
