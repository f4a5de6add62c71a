"""vmwatch-node and vmwatch-master as processes: from libvirt's test driver over ZeroMQ to an HTTPS server."""

from __future__ import annotations

import datetime
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from panel.cluster import agent_package
from vmwatch import config, panel_client, wire

TOP = Path(__file__).resolve().parents[2]
HOST = Path(__file__).with_name("vmwatch_host.py")
SYSTEM_PYTHON = "/usr/bin/python3"
SECRET = "S3CRETS3CRETS3CRET"
WEB1 = "6695eb01-f6a4-8304-79aa-97f2502e1930"
RSS_LIMIT_KIB = 40 * 1024


def wait_until(ready: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first true answer of `ready`."""
    until = time.monotonic() + seconds
    while not (answer := ready()):
        assert time.monotonic() < until, f"after {seconds:g} s still not: {what}"
        time.sleep(0.01)
    return answer


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate that bears no address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name}.invalid")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=2))
        .sign(key, hashes.SHA256())
    )
    certificate, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key_file


class Panel:
    """An HTTPS server that takes what the master hands over, or answers as it is told."""

    def __init__(self, folder: Path) -> None:
        self.certificate, key = make_certificate(folder, "panel")
        self.messages: list[dict[str, Any]] = []
        self.arrived: list[float] = []
        self.waited: list[float] = []
        self.status = 200
        self.refuses = ""
        panel = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # As the panel's server does; an answer in two pieces would take 40 ms otherwise.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == panel_client.PATH
                assert self.headers[panel_client.SIGNATURE_HEADER] == wire.sign(body, SECRET)
                status = panel.status
                if panel.refuses and panel.refuses.encode() in body:
                    status = 400
                if status == 200:
                    panel.arrived.append(time.time())
                    envelope = json.loads(body)
                    assert len(envelope["waited"]) == len(envelope["messages"])
                    panel.waited += envelope["waited"]
                    panel.messages += envelope["messages"]
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self.server.server_address[1]}"

    def state_of(self, domain: str) -> str:
        """What the messages so far say of a domain: an event of it, or its place in a picture."""
        state = ""
        for message in self.messages:
            told = {each["uuid"]: each["state"] for each in message.get("domains", ())}
            if message["kind"] == wire.PICTURE:
                state = told.get(domain, wire.MISSING)
            else:
                state = told.get(domain, state)
        return state

    def details(self) -> list[str]:
        """What happened, in libvirt's words, as the events so far say."""
        return [each["domains"][0]["detail"] for each in self.messages if each["kind"] == wire.EVENT]

    def close(self) -> None:
        """Serve no more."""
        self.server.shutdown()
        self.server.server_close()


class Daemons:
    """A master and a node as processes, and the panel that they serve."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.panel = Panel(folder)
        self.master_conf, self.node_conf = folder / "vmwatch-master.conf", folder / "vmwatch-node.conf"
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.processes: list[subprocess.Popen[str]] = []
        self.package = folder / "vmwatch.pyz"
        self.package.write_bytes(agent_package.files()[agent_package.VMWATCH_PATH])
        self.configure()

    def configure(self, secret: str = SECRET, node: dict[str, str] | None = None, **master: str) -> None:
        """Write both files."""
        values = {
            "disabled": "no",
            "listen": self.endpoint,
            "secret": secret,
            "panel": self.panel.url,
            "certificate": str(self.panel.certificate),
        }
        config.write(self.master_conf, {**values, **master})
        values = {"connect": self.endpoint, "secret": secret, "node_id": "3", "resync": "3600"}
        config.write(self.node_conf, {**values, **(node or {})})

    def run(self, *argv: str, **environment: str) -> subprocess.Popen[str]:
        """Start a process that ends with the test."""
        with (self.folder / "output").open("a") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(TOP), **environment},
            )
        self.processes.append(process)
        return process

    def master(self, *options: str) -> subprocess.Popen[str]:
        """vmwatch-master."""
        argv = ["-m", "vmwatch.master", "--config", str(self.master_conf), "--log", str(self.folder / "master.log")]
        return self.run(sys.executable, *argv, *options)

    def node(self) -> subprocess.Popen[str]:
        """vmwatch-node with the system's Python, from the file that nodes get."""
        argv = [str(HOST), "--config", str(self.node_conf), "--log", str(self.folder / "node.log")]
        epoch = ["--epoch-file", str(self.folder / "epoch")]
        environment = {"PYTHONPATH": str(self.package), "VMPANEL_LIBVIRT_URI": "test:///default"}
        return self.run(SYSTEM_PYTHON, *argv, *epoch, **environment)

    def node_alone(self, uri: str = "test:///default") -> subprocess.Popen[str]:
        """vmwatch-node as nodes run it: nothing of ours but its one file is in reach, and no hand."""
        argv = [str(self.package), "--config", str(self.node_conf), "--log", str(self.folder / "node.log")]
        epoch = ["--epoch-file", str(self.folder / "epoch")]
        return self.run(SYSTEM_PYTHON, *argv, *epoch, PYTHONPATH="", VMPANEL_LIBVIRT_URI=uri)

    def log(self, name: str) -> str:
        """A daemon's log so far."""
        path = self.folder / f"{name}.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def close(self) -> None:
        """End everything."""
        for process in self.processes:
            process.kill()
            process.communicate()
        self.panel.close()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tell(node: subprocess.Popen[str], *commands: str) -> None:
    """Have the hand in the node's process change the domains."""
    assert node.stdin is not None and node.stdout is not None
    for command in commands:
        node.stdin.write(f"{command}\n")
        node.stdin.flush()
        # The command may be the process's end, so that only a part of the line arrives.
        assert node.stdout.readline().strip() == "done"


def rss_kib(process: subprocess.Popen[str]) -> int:
    """A process' resident memory."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    """The daemons' files and their panel; nothing runs yet."""
    made = Daemons(tmp_path)
    try:
        yield made
    finally:
        made.close()


def forge(endpoint: str, frames: list[list[bytes]]) -> None:
    """Send frames to the master as anybody could."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.connect(endpoint)
        for each in frames:
            push.send_multipart(each)
        push.setsockopt(zmq.LINGER, 5000)


def event(sequence: int, state: str, node_id: int = 9, epoch: int = 1) -> wire.Message:
    """An event of a node that is no process here."""
    domains = [wire.DomainState(WEB1, "web1", state, "told")]
    return wire.Message(node_id, epoch, sequence, time.time(), wire.EVENT, domains)


def test_every_change_of_a_domain_reaches_the_panel_in_its_order(daemons: Daemons) -> None:
    daemons.master()
    node = daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first picture")
    assert daemons.panel.messages[0]["kind"] == wire.PICTURE
    assert [each["name"] for each in daemons.panel.messages[0]["domains"]] == ["test"]
    steps = [
        (f"define web1 {WEB1}", "defined:added", wire.SHUT_OFF),
        ("create web1", "started:booted", wire.RUNNING),
        ("suspend web1", "suspended:paused", wire.PAUSED),
        ("resume web1", "resumed:unpaused", wire.RUNNING),
        ("destroy web1", "stopped:destroyed", wire.SHUT_OFF),
        ("undefine web1", "undefined:removed", wire.MISSING),
    ]
    for command, detail, state in steps:
        tell(node, command)
        wait_until(lambda detail=detail: daemons.panel.details()[-1:] == [detail], f"web1 {detail}")
        assert daemons.panel.state_of(WEB1) == state
    sequences = [each["sequence"] for each in daemons.panel.messages]
    assert sequences == sorted(set(sequences))


def test_the_node_runs_from_its_one_file_in_forty_megabytes(daemons: Daemons) -> None:
    daemons.master()
    node = daemons.node_alone()
    wait_until(lambda: daemons.panel.messages, "the first picture")
    assert rss_kib(node) < RSS_LIMIT_KIB


def test_an_event_is_with_the_panel_in_a_tenth_of_a_second(daemons: Daemons) -> None:
    daemons.master()
    node = daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first picture")
    tell(node, f"define web1 {WEB1}")
    latencies = []
    for number in range(20):
        word, state = (("create", wire.RUNNING), ("destroy", wire.SHUT_OFF))[number % 2]
        begun = time.time()
        tell(node, f"{word} web1")
        wait_until(lambda state=state: daemons.panel.state_of(WEB1) == state, f"web1 is {state}")
        latencies.append(time.time() - begun)
    assert sorted(latencies)[len(latencies) // 2] < 0.1, latencies


def test_a_lost_libvirt_ends_the_node_with_a_code_of_its_own(daemons: Daemons) -> None:
    node = daemons.node()
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    tell(node, "lose")
    assert node.wait(10) == 3
    assert "the connection to libvirt is lost" in daemons.log("node")


def test_a_libvirt_that_is_not_there_ends_the_node_likewise(daemons: Daemons) -> None:
    node = daemons.node_alone("test:///does/not/exist.xml")
    assert node.wait(10) == 3
    # What it keeps is in the test's own folder, not in the machine's /run.
    assert (daemons.folder / "epoch").exists()


def test_both_end_cleanly_when_told_to(daemons: Daemons) -> None:
    master, node = daemons.master("--pid-file", str(daemons.folder / "pid")), daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first picture")
    assert (daemons.folder / "pid").read_text() == str(master.pid)
    for process in (node, master):
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not (daemons.folder / "pid").exists()


def test_a_bad_configuration_is_said_and_ends_either_with_2(daemons: Daemons) -> None:
    config.write(daemons.master_conf, {"listen": "tcp://127.0.0.1:1"})
    config.write(daemons.node_conf, {"connect": "tcp://127.0.0.1:1"})
    assert (daemons.master().wait(10), daemons.node().wait(10)) == (2, 2)
    assert "“secret” is missing" in daemons.log("master")


def test_the_master_says_which_configuration_it_works_with(daemons: Daemons) -> None:
    pid_file = daemons.folder / "master.pid"
    mark = config.mark_of(pid_file)
    mark.write_text("of one that was killed")
    daemons.configure(disabled="yes")
    master = daemons.master("--wait", "--pid-file", str(pid_file))
    wait_until(pid_file.exists, "it runs")
    assert not mark.exists()

    def reads() -> None:
        wait_until(lambda: mark.exists() and mark.read_text() == config.digest(daemons.master_conf), "it says so")

    daemons.configure()
    reads()
    daemons.configure(secret="ANOTHER")
    master.send_signal(signal.SIGHUP)
    reads()
    before = mark.read_text()
    config.write(daemons.master_conf, {"listen": "nonsense"})
    master.send_signal(signal.SIGHUP)
    wait_until(lambda: "kept as it was" in daemons.log("master"), "it refuses the file")
    assert mark.read_text() == before
    daemons.configure(disabled="yes")
    master.send_signal(signal.SIGHUP)
    assert master.wait(10) == 4
    assert not mark.exists() and not pid_file.exists()


def test_a_disabled_master_ends_with_4_or_waits_until_it_is_enabled(daemons: Daemons) -> None:
    daemons.configure(disabled="yes")
    assert daemons.master().wait(10) == 4
    waiting = daemons.master("--wait")
    daemons.node()
    daemons.configure()
    wait_until(lambda: daemons.panel.messages, "the first picture")
    daemons.configure(disabled="yes")
    waiting.send_signal(signal.SIGHUP)
    assert waiting.wait(10) == 4


def test_an_address_that_is_not_ours_is_said_and_ends_the_master_with_5(daemons: Daemons) -> None:
    daemons.configure(listen="tcp://192.0.2.1:1515")
    assert daemons.master().wait(10) == 5
    assert "cannot listen on tcp://192.0.2.1:1515" in daemons.log("master")


def test_nothing_but_proven_messages_passes_and_each_passes_once(daemons: Daemons) -> None:
    daemons.master()
    honest = [wire.encode(event(number, wire.RUNNING), SECRET) for number in (1, 2, 3)]
    body, proof = wire.encode(event(4, wire.CRASHED), SECRET)
    forge(
        daemons.endpoint,
        [
            [b"noise"],
            [b"", b"", b""],
            [body, b"0" * 64],
            [body.replace(b"crashed", b"missing"), proof],
            wire.encode(event(5, wire.CRASHED), "OTHER"),
            honest[0],
            honest[0],
            honest[1],
            honest[0],
            honest[2],
            wire.encode(event(7, wire.CRASHED, epoch=0), SECRET),
        ],
    )
    wait_until(lambda: len(daemons.panel.messages) >= 3, "the honest messages")
    forge(daemons.endpoint, [wire.encode(event(8, wire.SHUT_OFF), SECRET)])
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.SHUT_OFF, "the last honest message")
    assert [each["sequence"] for each in daemons.panel.messages] == [1, 2, 3, 8]


def test_messages_wait_for_a_panel_that_is_away_in_their_order(daemons: Daemons) -> None:
    daemons.panel.status = 503
    daemons.master()
    node = daemons.node()
    wait_until(lambda: "does not take messages" in daemons.log("master"), "the master noticed")
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    tell(node, f"define web1 {WEB1}", "create web1", "suspend web1")
    wait_until(lambda: daemons.log("node").count("web1") == 3, "the events were sent")
    daemons.panel.status = 200
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.PAUSED, "the events arrived")
    assert daemons.panel.details() == ["defined:added", "started:booted", "suspended:paused"]


def test_a_message_that_the_panel_refuses_does_not_hold_up_the_others(daemons: Daemons) -> None:
    poison = str(uuid.UUID(int=0xBAD))
    daemons.panel.refuses = poison
    daemons.panel.status = 503
    daemons.master()
    domains = [wire.DomainState(poison, "bad", wire.RUNNING)]
    bad = wire.Message(9, 1, 2, time.time(), wire.EVENT, domains)
    messages = [event(1, wire.RUNNING), bad, event(3, wire.SHUT_OFF)]
    forge(daemons.endpoint, [wire.encode(each, SECRET) for each in messages])
    wait_until(lambda: "does not take messages" in daemons.log("master"), "the master noticed")
    daemons.panel.status = 200
    wait_until(lambda: [each["sequence"] for each in daemons.panel.messages] == [1, 3], "the others arrived")


def test_another_certificate_gets_nothing(daemons: Daemons) -> None:
    other, _key = make_certificate(daemons.folder, "other")
    daemons.configure(certificate=str(other))
    master = daemons.master()
    forge(daemons.endpoint, [wire.encode(event(1, wire.RUNNING), SECRET)])
    wait_until(lambda: "is not the one in" in daemons.log("master"), "the master refuses the panel")
    assert daemons.panel.messages == []
    daemons.configure()
    master.send_signal(signal.SIGHUP)
    wait_until(lambda: daemons.panel.messages, "the message, with the right certificate")


def test_a_secret_can_be_changed_while_both_run(daemons: Daemons) -> None:
    # What the one says in the new secret before the other knows it comes with the next picture.
    daemons.configure(secret="OLD", node={"resync": "0.5"})
    master, node = daemons.master(), daemons.node()
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    wait_until(lambda: "listening" in daemons.log("master"), "the master listens")
    daemons.configure(node={"resync": "0.5"})
    for process in (master, node):
        process.send_signal(signal.SIGHUP)
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.RUNNING, "the event under the new secret")


def test_a_killed_master_comes_back_to_a_new_picture(daemons: Daemons) -> None:
    master, node = daemons.master(), daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first picture")
    master.kill()
    master.wait()
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.log("node").count("web1") == 2, "the events were heard")
    daemons.panel.messages.clear()
    daemons.master()
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.RUNNING, "the panel knows of the change")
    # The resync interval is an hour here: the picture came because the master did.
    wait_until(lambda: any(each["kind"] == wire.PICTURE for each in daemons.panel.messages), "a new picture")


def test_a_killed_node_comes_back_with_a_later_epoch_though_the_clock_was_set_back(daemons: Daemons) -> None:
    daemons.master()
    ahead = time.time_ns() + 3600 * 10**9
    (daemons.folder / "epoch").write_text(str(ahead), encoding="ascii")
    daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first picture")
    assert daemons.panel.messages[0]["epoch"] == ahead + 1


def test_an_event_that_the_killed_master_took_along_is_told_again(daemons: Daemons) -> None:
    daemons.panel.status = 503
    master, node = daemons.master(), daemons.node()
    wait_until(lambda: "does not take messages" in daemons.log("master"), "the master noticed")
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    # It has the events, and dies with them; what it wrote is gone as well.
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.log("node").count("web1") == 2, "the events were sent")
    master.kill()
    master.wait()
    (daemons.folder / "vmwatch-master.waiting").unlink(missing_ok=True)
    daemons.panel.status = 200
    daemons.master()
    wait_until(lambda: any(each["kind"] == wire.PICTURE for each in daemons.panel.messages), "a new picture")
    [picture] = [each for each in daemons.panel.messages if each["kind"] == wire.PICTURE]
    assert [past["domain"]["detail"] for past in picture["recent"]] == ["defined:added", "started:booted"]


def test_what_waited_for_the_panel_outlives_the_killed_master(daemons: Daemons) -> None:
    daemons.panel.status = 503
    master = daemons.master()
    messages = [event(number, wire.RUNNING) for number in (1, 2, 3)]
    forge(daemons.endpoint, [wire.encode(messages[0], SECRET)])
    spool = daemons.folder / "vmwatch-master.waiting"
    wait_until(lambda: spool.exists() and spool.read_bytes().count(b"\n") == 1, "the first message is on the disk")
    forge(daemons.endpoint, [wire.encode(each, SECRET) for each in messages[1:]])
    wait_until(lambda: spool.read_bytes().count(b"\n") == 3, "all are on the disk")
    assert spool.stat().st_mode & 0o777 == 0o600
    master.kill()
    master.wait()
    with spool.open("ab") as file:
        file.write(b'{"at":12,"body":{"torn')
    daemons.panel.status = 200
    begun = time.time()
    daemons.master()
    wait_until(lambda: len(daemons.panel.messages) == 3, "they are delivered")
    assert [each["sequence"] for each in daemons.panel.messages] == [1, 2, 3]
    assert all(0 < waited < 30 + time.time() - begun for waited in daemons.panel.waited)
    wait_until(lambda: not spool.exists(), "nothing waits any more")


def test_the_panel_hears_of_both_daemons_though_nothing_happens(daemons: Daemons) -> None:
    daemons.configure(node={"resync": "0.9"})
    daemons.master()
    daemons.node()
    kinds = lambda: [each["kind"] for each in daemons.panel.messages]  # noqa: E731
    wait_until(lambda: kinds().count(wire.ALIVE) >= 2 and kinds().count(wire.PICTURE) >= 2, "words of life")
    for process in daemons.processes[1:]:
        process.kill()
    before = len(daemons.panel.arrived)
    wait_until(lambda: len(daemons.panel.arrived) > before, "the master speaks for itself", 20)


def test_while_a_secret_is_changed_the_previous_one_is_believed(daemons: Daemons) -> None:
    daemons.configure(secret="OLD")
    node = daemons.node()
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    values = config.read(daemons.master_conf)
    config.write(daemons.master_conf, {**values, "secret": SECRET, "previous_secret": "OLD"})
    master = daemons.master()
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.RUNNING, "the event under the previous secret")
    config.write(daemons.master_conf, {**values, "secret": SECRET})
    master.send_signal(signal.SIGHUP)
    wait_until(lambda: daemons.log("master").count("listening on") == 2, "the master has read its file")
    tell(node, "destroy web1")
    wait_until(lambda: daemons.log("node").count("web1") == 3, "the event was sent")
    forge(daemons.endpoint, [wire.encode(event(1, wire.RUNNING), SECRET)])
    wait_until(lambda: daemons.panel.messages[-1]["node_id"] == 9, "a message under the new secret")
    assert daemons.panel.details()[-2:] == ["started:booted", "told"]


def test_with_curve_keys_nothing_is_taken_that_travels_in_the_open(daemons: Daemons) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    daemons.configure(node={"server_key": public}, curve_public_key=public, curve_secret_key=secret)
    daemons.master()
    node = daemons.node()
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.panel.state_of(WEB1) == wire.RUNNING, "the event, encrypted")
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.setsockopt(zmq.LINGER, 0)
        push.setsockopt(zmq.IMMEDIATE, 1)
        push.connect(daemons.endpoint)
        assert not push.poll(1000, zmq.POLLOUT)


def test_statistics_of_active_domains_come_by_themselves(daemons: Daemons) -> None:
    daemons.configure(node={"statistics": "0.5"})
    daemons.master()
    node = daemons.node()
    tell(node, f"define web1 {WEB1}", f"define web2 {uuid.UUID(int=2)}", "create web1")

    def collected() -> list[set[str]]:
        found = [each for each in daemons.panel.messages if each["kind"] == wire.STATISTICS]
        return [{domain["uuid"] for domain in each["statistics"]} for each in found]

    wait_until(lambda: len(collected()) >= 3, "three collections")
    assert WEB1 in collected()[-1] and str(uuid.UUID(int=2)) not in collected()[-1]


def test_what_happens_besides_changes_of_state_is_told_with_the_present_state(daemons: Daemons) -> None:
    daemons.master()
    node = daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first picture")
    tell(node, f"define web1 {WEB1}", "create web1")
    # What the hand does comes from another thread than what libvirt tells.
    wait_until(lambda: "started:booted" in daemons.panel.details(), "it runs")
    whats = ("reboot", "io-error", "watchdog", "block-job", "iteration", "agent", "arrive")
    tell(node, *(f"happen web1 {what}" for what in whats))
    wait_until(lambda: "started:migrated" in daemons.panel.details(), "all is told")
    assert daemons.panel.details()[2:] == [
        "rebooted",
        "io-error:vda",
        "watchdog:reset",
        "block-job:vda:ready",
        "migration:3",
        "agent:connected",
        "started:migrated",
    ]
    events = [each["domains"][0] for each in daemons.panel.messages if each["kind"] == wire.EVENT]
    # What arrives by a migration runs elsewhere still.
    assert [each["state"] for each in events[2:]] == [wire.RUNNING] * 6 + [wire.PAUSED]


def test_what_a_guest_does_as_often_as_it_likes_is_not_told_as_often(daemons: Daemons) -> None:
    daemons.master()
    node = daemons.node()
    wait_until(lambda: daemons.panel.messages, "the first picture")
    tell(node, f"define web1 {WEB1}")
    begun = time.monotonic()
    tell(node, *["happen web1 agent"] * 200)
    tell(node, "create web1")
    wait_until(lambda: "started:booted" in daemons.panel.details(), "all is told")
    assert 1 <= daemons.panel.details().count("agent:connected") <= 1 + time.monotonic() - begun


def test_what_a_killed_node_could_not_say_is_told_by_its_next_run(daemons: Daemons) -> None:
    node = daemons.node()
    wait_until(lambda: "watching" in daemons.log("node"), "the node watches")
    tell(node, f"define web1 {WEB1}", "create web1")
    wait_until(lambda: daemons.log("node").count("web1") == 2, "the events were heard")
    node.kill()
    node.wait()
    epoch = int((daemons.folder / "epoch").read_text())
    daemons.node()
    daemons.master()
    wait_until(lambda: daemons.panel.messages, "the first picture")
    recent = daemons.panel.messages[0]["recent"]
    assert [(past["epoch"], past["sequence"], past["domain"]["detail"]) for past in recent] == [
        (epoch, 1, "defined:added"),
        (epoch, 2, "started:booted"),
    ]
    assert all(0 < past["domain"]["age"] < 30 for past in recent)
    assert daemons.panel.messages[0]["epoch"] > epoch


def test_of_ten_thousand_events_none_is_lost_with_a_killed_master_and_memory_is_bounded(daemons: Daemons) -> None:
    daemons.panel.status = 503
    daemons.configure(node={"resync": "1"})
    spool = ("--spool", str(daemons.folder / "waiting"))
    master, node = daemons.master(*spool), daemons.node()
    wait_until(lambda: "the master is there" in daemons.log("node"), "the node has the master")
    tell(node, f"define web1 {WEB1}", "create web1")
    before = rss_kib(node)
    tell(node, "storm web1 5000")
    master.kill()
    master.wait()
    tell(node, "storm web1 5000")
    wait_until(lambda: daemons.log("node").count("web1 (") == 10_002, "the events were heard", 60)
    daemons.panel.status = 200
    daemons.master(*spool)
    events: set[int] = set()

    def all_told() -> bool:
        for message in list(daemons.panel.messages):
            if message["kind"] == wire.EVENT:
                events.add(message["sequence"])
            events.update(past["sequence"] for past in message.get("recent", ()))
        return len(events) >= 10_002

    wait_until(all_told, "every event was told", 60)
    assert rss_kib(node) - before < 16 * 1024


def test_a_public_key_of_another_pair_is_said(daemons: Daemons) -> None:
    public, _ = (key.decode() for key in zmq.curve_keypair())
    _, secret = (key.decode() for key in zmq.curve_keypair())
    daemons.configure(curve_public_key=public, curve_secret_key=secret)
    assert daemons.master().wait(10) == 2
    assert "“curve_public_key” is not that of “curve_secret_key”" in daemons.log("master")
    assert secret not in daemons.log("master")


def test_a_second_master_leaves_alone_what_waits_with_the_first(daemons: Daemons) -> None:
    daemons.panel.status = 503
    daemons.master()
    spool = daemons.folder / "vmwatch-master.waiting"
    forge(daemons.endpoint, [wire.encode(event(1, wire.RUNNING), SECRET)])
    wait_until(lambda: spool.exists() and spool.read_bytes().count(b"\n") == 1, "the message is on the disk")
    place = spool.stat().st_ino
    assert daemons.master().wait(15) == 5
    assert spool.stat().st_ino == place


def test_statistics_that_could_not_be_sent_are_collected_anew_for_the_master_that_comes(daemons: Daemons) -> None:
    daemons.configure(node={"statistics": "3"})
    node = daemons.node()
    wait_until(lambda: "statistics are not sent" in daemons.log("node"), "a collection in vain")
    begun = time.monotonic()
    daemons.master()
    wait_until(lambda: any(each["kind"] == wire.STATISTICS for each in daemons.panel.messages), "statistics")
    assert time.monotonic() - begun < 2.5
    assert node.poll() is None
