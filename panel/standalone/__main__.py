"""script/server's second half: everything after the virtual environment is there (script/server is the first)."""

from __future__ import annotations

import fcntl
import hashlib
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from panel.standalone import machine, private
from panel.standalone.client import Api, ApiError, manage
from panel.standalone.options import TOP, Options, parse
from panel.standalone.private import Unfit
from panel.standalone.setup import Layout, make_certificate, port_is_free, prepare_sshd, write_configuration
from panel.standalone.show import say
from panel.standalone.supervisor import Supervisor, programs

CONCURRENCY = 4
DATABASE_SECONDS = 60.0


class Stopped(BaseException):
    """Ctrl-C, or a signal that asks for the end."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


@contextmanager
def only_one(layout: Layout) -> Iterator[None]:
    """Hold this installation; raises Unfit while another script/server runs it."""
    with (layout.run / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unfit(f"vmpanel with {layout.var} runs already; stop it there with Ctrl-C first.") from None
        yield


def bring_up(supervisor: Supervisor, layout: Layout, options: Options) -> int:
    """Database, panel, worker and daemons run and the login page is served; answers the port of our sshd."""
    supervisor.end_orphan()
    if not port_is_free(options.listen, options.port):
        raise Unfit(f"Port {options.port} is taken by another program; choose another with --port.")
    database, redis = private.sockets(layout.run)
    for stale in (database, redis):
        stale.unlink(missing_ok=True)
    write_configuration(layout, options, database, redis)
    if make_certificate(layout):
        say(f"Made a self-signed certificate: {layout.tls / 'panel.crt'}")
    ssh_port = prepare_sshd(layout)
    if not (layout.var / "mysql").exists():
        say("Making a private database")
    private.prepare_database(layout.var / "mysql")
    chosen = programs(layout, CONCURRENCY)
    supervisor.start(chosen)
    say("Starting the private MariaDB and Redis")
    until = time.monotonic() + DATABASE_SECONDS
    while not (redis.exists() and private.answers(database)):
        if time.monotonic() > until:
            raise Unfit(f"The private MariaDB or Redis did not start; see {layout.log}.")
        time.sleep(0.1)
    migrate(layout, database)
    say("Starting the panel")
    supervisor.start_program("panel")
    return ssh_port


def migrate(layout: Layout, database: Path) -> None:
    """The database has the tables that this version needs; where it had them at the last start nothing is done."""
    stamp = layout.var / "mysql" / "vmpanel.migrated"
    wanted = migrations_digest()
    if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return
    say("Bringing the database up to date")
    private.create_database(database, "vmpanel")
    manage(layout, "migrate", "--no-input", "--verbosity", "0")
    stamp.write_text(wanted, encoding="ascii")


def migrations_digest() -> str:
    """What the tables follow from: our migrations, and the installed packages' through setup.cfg."""
    digest = hashlib.sha256((TOP / "setup.cfg").read_bytes())
    for path in sorted((TOP / "panel").glob("*/migrations/*.py")):
        digest.update(str(path.relative_to(TOP)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def furnish(api: Api, layout: Layout, options: Options, ssh_port: int) -> int:
    """Administrator, images, this machine as a node, the first VM; answers the node's id."""
    admin = machine.administrator(layout)
    if admin["created"]:
        say(f"Administrator: {admin['name']}, password: {admin['password']} (shown this once)")
    api.sign_in()
    machine.make_images(layout, options)
    node = machine.ensure_node(api, layout, ssh_port)
    if options.first_vm:
        machine.ensure_first_vm(api, layout, options.first_vm)
    return int(node["id"])


def serve(layout: Layout, options: Options) -> int:
    """Set up, run until asked to stop, stop everything; answers the exit code."""
    supervisor = Supervisor(layout)
    api: Api | None = None
    node_id: int | None = None
    code = 0
    try:
        ssh_port = bring_up(supervisor, layout, options)
        api = Api(layout, options.port)
        api.wait_until_served()
        say(f"The panel is served at https://localhost:{options.port}/")
        # Only now: on a small machine they would make the first page wait.
        say("Starting worker, vmwatch-master and cron")
        for name in ("worker", "vmwatch-master", "cron"):
            supervisor.start_program(name)
        node_id = furnish(api, layout, options, ssh_port)
        say("Everything is ready. Ctrl-C stops it.")
        while supervisor.process is not None and supervisor.process.poll() is None:
            time.sleep(0.5)
        raise Unfit(f"The supervisor ended; see {layout.log / 'supervisord.log'}.")
    except Stopped:
        say("\nStopping")
    except (Unfit, ApiError) as error:
        print(f"script/server: {error}", file=sys.stderr)
        code = 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _end(supervisor, api, node_id, options)
    return code


def _end(supervisor: Supervisor, api: Api | None, node_id: int | None, options: Options) -> None:
    if options.stop_vms and api is not None and node_id is not None:
        say("Shutting the VMs down")
        try:
            machine.stop_vms(api, node_id)
        except Exception as error:
            # Whatever it was, the rest has to be stopped all the same.
            print(f"script/server: not every VM was shut down: {error}", file=sys.stderr)
    if supervisor.process is None:
        return
    supervisor.stop()
    if node_id is not None:
        machine.stop_kept_services()
    say("Stopped." if options.stop_vms else "Stopped; VMs that ran still run.")


def main(argv: list[str]) -> int:
    """The program."""
    options = parse(argv)
    layout = Layout(options)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    log: Path | None = None
    try:
        layout.make()
        log = layout.log / "server.log"
        with only_one(layout):
            return serve(layout, options)
    except Stopped:
        return 130
    except Unfit as error:
        print(f"script/server: {error}", file=sys.stderr)
    except Exception as error:
        # A person gets a sentence; what we have to know is in the log.
        if log is not None:
            with log.open("a", encoding="utf-8") as file:
                traceback.print_exc(file=file)
        words = "the disk is full" if isinstance(error, OSError) and error.errno == 28 else f"unexpected: {error}"
        print(f"script/server: {words} (see {log})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
