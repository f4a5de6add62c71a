"""The porter: what the panel sends to a host's Python over ssh, to look around and bring files before it has an agent.

Its source goes to the constant command of panel/cluster/porter.py, so it lies on no host and needs nothing of ours.
Root's shell and its start files are over when it begins: it needs neither sftp, which a start file that prints breaks,
nor programs found by a PATH. One JSON object a line: a request on stdin, behind which a file's bytes may stand, an
answer on stdout.
"""

import contextlib
import hashlib
import json
import os
import pwd
import secrets
import sys
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional

MARK = "/var/lib/vmpanel/node.json"
BLOCK = 1024 * 1024
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
KEPT = ("PATH", "LC_ALL", "SSH_CONNECTION", "XDG_RUNTIME_DIR")
"""What an agent keeps of the environment that root's start files left, besides the proxies and what is ours."""


def text_of(path: str) -> Optional[str]:
    """What the file says; None where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def look() -> Dict[str, Any]:
    """What the host is, and whose."""
    return {"os_release": text_of("/etc/os-release") or "", "mark": text_of(MARK), "user": os.geteuid()}


def run(program: str, command: str, request: Dict[str, Any]) -> Any:
    """What one of the COMMANDS of another program of the panel's answers (bare.py)."""
    space: Dict[str, Any] = {"__name__": "program"}
    exec(program, space)  # noqa: S102 - it comes from the panel, as this one does
    return space["COMMANDS"][command](request)


def hashes(paths: List[str]) -> Dict[str, Optional[str]]:
    """The SHA-256 of each file; None where there is none."""
    return {path: _hash(path) for path in paths}


def _hash(path: str) -> Optional[str]:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


class Body:
    """The bytes that stand behind a request."""

    def __init__(self, size: int) -> None:
        self.left = size

    def blocks(self) -> Iterator[bytes]:
        """All of them that were not read yet; raises EOFError where the panel ended in their midst."""
        while self.left:
            block = os.read(0, min(BLOCK, self.left))
            if not block:
                raise EOFError
            self.left -= len(block)
            yield block


def put(body: Body, path: str, mode: int) -> None:
    """The file has these bytes, put in place as a whole; nothing is left of it where that fails."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    _replace(target, body.blocks(), mode)


def _replace(target: Path, blocks: Iterable[bytes], mode: int) -> None:
    # Of its own name: another worker may be putting the same file there.
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.writelines(blocks)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        raise


def upload(body: Body, path: str) -> None:
    """The file, which is there, has these bytes; what arrived of it stays where that fails.

    None is made: the task that wanted it may have been undone meanwhile.
    """
    with open(os.open(path, os.O_WRONLY | os.O_TRUNC), "wb") as file:
        file.writelines(body.blocks())


def authorize(key: str) -> None:
    """The key's holder may sign in as this user; a second time changes nothing."""
    path = _authorized_keys()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    before = path.read_bytes() if path.exists() else b""
    if key.encode() in before.splitlines():
        return
    # What somebody wrote by hand need not end with a newline.
    between = b"\n" if before and not before.endswith(b"\n") else b""
    _replace(path, [before, between, key.encode(), b"\n"], 0o600)


def deauthorize(key: str) -> None:
    """The key's holder may not sign in any more."""
    path = _authorized_keys()
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if line.rstrip(b"\r\n") != key.encode()]
    if len(kept) != len(lines):
        _replace(path, kept, 0o600)


def _authorized_keys() -> Path:
    # Where its administrator keeps it: a symbolic link stays one.
    return (Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".ssh" / "authorized_keys").resolve()


def become_agent(path: str, arguments: Iterable[str] = ()) -> None:
    """This process goes on as the agent, free of what root's start files made of its surroundings."""
    user = pwd.getpwuid(os.geteuid())
    kept = {name: value for name, value in os.environ.items() if _is_kept(name)}
    kept.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name, SHELL="/bin/sh")
    os.chdir("/")
    os.umask(os.umask(0o022) | 0o022)
    python = sys.executable
    os.execve(python, [python, "-I", path, *arguments], kept)


def _is_kept(name: str) -> bool:
    return name in KEPT or name.lower() in PROXIES or name.startswith(("VMPANEL_", "LIBGUESTFS_"))


REQUESTS: Dict[str, Callable[..., Any]] = {
    "look": look,
    "run": run,
    "hashes": hashes,
    "put": put,
    "upload": upload,
    "authorize": authorize,
    "deauthorize": deauthorize,
    "become_agent": become_agent,
}


def answer(message: Dict[str, Any]) -> None:
    """Say something to the panel."""
    os.write(1, json.dumps(message).encode() + b"\n")


def carry_out(request: Dict[str, Any]) -> None:
    """Do what is asked and answer; an OSError is answered in the kernel's words."""
    body = Body(request.pop("size", 0))
    run = REQUESTS[request.pop("do")]
    try:
        answer({"result": run(body, **request) if run in (put, upload) else run(**request)})
    except OSError as error:
        answer({"error": error.strerror or str(error), "path": request.get("path", error.filename)})
        # The panel has sent it already, or ends the conversation.
        for _block in body.blocks():
            pass
    except (LookupError, TypeError, ValueError):
        traceback.print_exc()
        answer({"error": "the panel's own program met a fault there"})


def main() -> None:
    """Serve until the panel has no more."""
    # Unbuffered: a file's bytes, or an agent's conversation, stand right behind a request.
    with open(0, "rb", 0, closefd=False) as source, contextlib.suppress(EOFError):
        while True:
            line = source.readline()
            if not line:
                return
            carry_out(json.loads(line))


if __name__ == "__main__":
    main()
