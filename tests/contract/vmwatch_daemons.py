"""vmwatch-node and vmwatch-master as processes, and an HTTPS server that stands where the panel is."""

from __future__ import annotations

import datetime
import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
NODES = (3, 9, *range(1000, 1010))
"""Those that the master believes; 3 is the process."""
WEB1 = "6695eb01-f6a4-8304-79aa-97f2502e1930"


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
        """What the messages so far say of a domain: an event of it, or its place in a full report."""
        state = ""
        for message in self.messages:
            told = {each["uuid"]: each["state"] for each in message.get("domains", ())}
            if message["kind"] == wire.FULL_REPORT:
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
        """Write both files; `secret` is the master's."""
        values = {
            "disabled": "no",
            "listen": self.endpoint,
            "secret": secret,
            "panel": self.panel.url,
            "certificate": str(self.panel.certificate),
            "nodes": " ".join(map(str, NODES)),
        }
        config.write(self.master_conf, {**values, **master})
        values = {"connect": self.endpoint, "secret": wire.own_secret(secret, 3), "node_id": "3", "resync": "3600"}
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


def memory_kib(process: subprocess.Popen[str], which: str = "VmRSS") -> int:
    """A process' resident memory, or the most that it was: VmHWM."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{which}:"))


def said(message: wire.Message, secret: str = SECRET) -> list[bytes]:
    """The message's frames, as its node sends them; `secret` is the master's."""
    return wire.encode(message, wire.own_secret(secret, message.node_id))


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
