"""The installed program `vmpanel` against the panel's views, served by TLS from this process: exit codes, words."""

from __future__ import annotations

import json
import os
import pty
import signal
import ssl
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.core.wsgi import get_wsgi_application
from django.db import connections

from nodeagent.protocol import host
from panel.accounts.models import User
from panel.accounts.tokens import create_token
from panel.cluster import fake
from panel.cluster.models import Node
from panel.images.models import Flavor, Image
from panel.notices.services import close_problem, open_problem
from panel.standalone.options import TOP, Options
from panel.standalone.setup import Layout, make_certificate
from panel.tasks.models import Status, Task
from tests.db.conftest import run_task
from tests.stack import free_port, wait_until

PROGRAM = str(Path(sys.executable).with_name("vmpanel"))
Done = subprocess.CompletedProcess[str]


class Quiet(WSGIRequestHandler):
    """Requests are not printed."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A certificate for this machine, made once."""
    made = Layout(Options(tmp_path_factory.mktemp("cli"), 0, "127.0.0.1", (), None, False))
    made.make()
    make_certificate(made)
    return made


class Program:
    """`vmpanel`, signed in by a token."""

    def __init__(self, url: str, token: str, layout: Layout) -> None:
        self.asked: list[str] = []
        self.environment = {
            **os.environ,
            "VMPANEL_URL": url,
            "VMPANEL_TOKEN": token,
            "VMPANEL_CERTIFICATE": str(layout.tls / "panel.crt"),
            "XDG_CONFIG_HOME": str(layout.var),
            "COLUMNS": "80",
        }

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """It runs, and is talked to by pipes."""
        # A run in the background of a shell has SIGINT ignored, which programs inherit.
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        try:
            return subprocess.Popen([PROGRAM, *words], text=True, env=self.environment, **pipes)
        finally:
            signal.signal(signal.SIGINT, before)

    def __call__(self, *words: str, meanwhile: Callable[[], Any] | None = None, **environment: str) -> Done:
        """It has ended; `meanwhile` is done while it waits."""
        self.environment |= environment
        process = self.start(*words)
        if meanwhile is not None:
            meanwhile()
        out, err = process.communicate(timeout=60)
        return Done(words, process.returncode, out, err)


@pytest.fixture
def vmpanel(admin: User, layout: Layout, settings: Any) -> Iterator[Program]:
    """The program, and the panel that it asks."""
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(layout.tls / "panel.crt", layout.tls / "panel.key")
    asked: list[str] = []
    panel = get_wsgi_application()

    def application(environ: dict[str, Any], start: Any) -> Any:
        asked.append(environ["PATH_INFO"])
        return panel(environ, start)

    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    server.socket = context.wrap_socket(server.socket, server_side=True)

    def serve() -> None:
        server.serve_forever(poll_interval=0.05)
        connections.close_all()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        program = Program(f"https://127.0.0.1:{server.server_port}", create_token(admin, "cli")[1], layout)
        program.asked = asked
        yield program
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def carried_out() -> Task:
    """The one task that was asked for, at its end."""
    found: Task = wait_until(lambda: Task.objects.filter(status=Status.QUEUED).first(), "a task is asked for")
    return run_task(found)


def test_0_is_done_and_piped_tables_have_whole_lines(vmpanel: Program, node: Node) -> None:
    node.name = "n" * 60
    node.address = "a-host-with-a-long-name.of-a-long.domain.example"
    node.save()
    listed = vmpanel("node", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert node.name in listed.stdout and node.address in listed.stdout
    assert len(listed.stdout.splitlines()) == 2


@pytest.mark.parametrize("words", [("--json", "node", "list"), ("node", "--json", "list"), ("node", "list", "--json")])
def test_json_may_be_asked_for_anywhere(vmpanel: Program, node: Node, words: tuple[str, ...]) -> None:
    assert [each["name"] for each in json.loads(vmpanel(*words).stdout)] == [node.name]


def test_1_is_a_task_that_failed_a_silent_node_and_what_the_doctor_found(vmpanel: Program, node: Node) -> None:
    assert vmpanel("vmwatch", "nodes").returncode == 1
    task = Task.objects.create(operation="node.check", title="Check", object_type="node", object_id=node.pk)
    Task.objects.update(status=Status.FAILED, error={"code": "busy", "message": "It failed."})
    followed = vmpanel("task", "follow", str(task.pk))
    assert (followed.returncode, followed.stderr) == (1, "It failed.\n")
    Node.objects.update(is_fake=True, state="ready")
    assert vmpanel("doctor", meanwhile=carried_out).returncode == 0
    spec = host.DomainSpec(str(uuid.uuid4()), "stray", 128, 1, "qemu", [], [])
    fake.node(node.pk).domains[spec.uuid] = fake.FakeDomain(spec, "running")
    found = vmpanel("doctor", meanwhile=carried_out)
    assert found.returncode == 1 and "stray" in found.stdout


def test_2_is_refused_by_the_panel_or_before_it_is_asked(vmpanel: Program, tmp_path: Path) -> None:
    refused = vmpanel("vm", "show", "99", "--json")
    assert (refused.returncode, json.loads(refused.stdout)["code"]) == (2, "not_found")
    assert vmpanel("vm", "show").returncode == 2
    vmpanel.environment.pop("VMPANEL_URL")
    unknown = vmpanel("vm", "list", XDG_CONFIG_HOME=str(tmp_path))
    assert (unknown.returncode, "vmpanel login" in unknown.stderr) == (2, True)


def test_3_is_a_panel_that_cannot_be_reached(vmpanel: Program) -> None:
    away = vmpanel("vm", "list", VMPANEL_URL=f"https://127.0.0.1:{free_port()}")
    assert (away.returncode, away.stderr[:36]) == (3, "vmpanel: the panel cannot be reached")


def test_130_is_ctrl_c_which_says_that_the_task_goes_on(vmpanel: Program, node: Node) -> None:
    process = vmpanel.start("node", "check", node.name)
    task = wait_until(Task.objects.first, "the task is asked for")
    wait_until(lambda: f"/api/v1/tasks/{task.pk}" in vmpanel.asked, "it is followed")
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"Task {task.pk} goes on." in err and f"vmpanel task follow {task.pk}" in err
    assert Task.objects.get(pk=task.pk).status == Status.QUEUED


def test_what_cannot_be_taken_back_is_asked_about(vmpanel: Program, node: Node) -> None:
    silent = vmpanel("node", "forget", node.name)
    assert silent.returncode == 2 and "--yes" in silent.stderr
    ours, theirs = pty.openpty()
    asked = vmpanel.start("node", "forget", node.name, stdin=theirs)
    os.write(ours, b"n\n")
    assert "Nothing was done" in asked.communicate(timeout=60)[1]
    os.close(ours), os.close(theirs)
    assert asked.returncode == 2 and not Task.objects.exists()
    assert vmpanel("node", "remove", node.name, "--plan").returncode == 0
    assert vmpanel("node", "remove", node.name, "--yes", "--no-wait").returncode == 0
    assert Task.objects.get().operation == "node.remove"


def test_help_and_completion_need_no_sign_in_and_know_the_panels_verbs_with_one(
    vmpanel: Program, tmp_path: Path
) -> None:
    words = {"_VMPANEL_COMPLETE": "bash_complete", "COMP_WORDS": "vmpanel vm st", "COMP_CWORD": "2"}
    assert vmpanel(**words).stdout.split() == ["plain,start", "plain,stop"]
    vmpanel.environment.pop("VMPANEL_URL")
    without = vmpanel(XDG_CONFIG_HOME=str(tmp_path), **{**words, "COMP_WORDS": "vmpanel vm sh"})
    assert (without.stdout.split(), without.stderr) == (["plain,show"], "")
    vmpanel.environment.pop("_VMPANEL_COMPLETE")
    shown = vmpanel("vm", "--help")
    assert shown.returncode == 0 and "list" in shown.stdout and "vmpanel login" in " ".join(shown.stdout.split())


def test_who_reads_no_further_is_no_error(vmpanel: Program, node: Node) -> None:
    process = vmpanel.start("node", "list")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", 0)


@pytest.mark.parametrize("given", [{}, {"VMPANEL_CONF": "/nowhere/vmpanel.conf"}])
def test_manage_py_without_configuration_says_so_in_a_sentence(given: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "VMPANEL_CONF"}
    done = subprocess.run(
        [sys.executable, str(TOP / "manage.py"), "create_admin", "--name", "admin"],
        env={**environment, **given}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    where = given.get("VMPANEL_CONF", "/etc/vmpanel/vmpanel.conf")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"There is no configuration {where}" in done.stderr


def test_plans_and_problems_are_settled_from_the_command_line(vmpanel: Program, image: Image) -> None:
    sizes = ("--vcpus", "3", "--memory-mib", "2048", "--disk-gib", "20")
    assert json.loads(vmpanel("--json", "flavor", "create", "huge", *sizes).stdout)["vcpus"] == 3
    assert json.loads(vmpanel("--json", "flavor", "change", "huge", "--vcpus", "4").stdout)["vcpus"] == 4
    assert vmpanel("flavor", "change", "huge", "--vcpus", "0").returncode == 2
    assert vmpanel("flavor", "delete", "huge").returncode == 0 and not Flavor.objects.filter(name="huge").exists()
    assert (
        json.loads(vmpanel("--json", "image", "change", image.name, "--title", "Smaller").stdout)["title"] == "Smaller"
    )
    problem = open_problem("k", "It broke.")
    shown = json.loads(vmpanel("--json", "problem", "acknowledge", str(problem.pk), "--note", "I know").stdout)
    assert (shown["acknowledged_by"], shown["note"]) == ("admin", "I know")
    assert vmpanel("problem", "unacknowledge", str(problem.pk)).returncode == 0
    close_problem("k")
    assert "It broke." in vmpanel("problem", "history").stdout and "It broke." not in vmpanel("problem", "list").stdout
