"""A private PowerDNS: its own folder, database and ports on loopback, and what it answers over the wire."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype
import dns.reversename
import httpx

from nodeagent.run import dying_with_us

SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
KEY = "the api's key"
START_SECONDS = 60.0


class Pdns:
    """The server; it keeps its zones while it is stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.api = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{self.api}"
        self.process: subprocess.Popen[bytes] | None = None
        with sqlite3.connect(folder / "pdns.db") as database:
            database.executescript(SCHEMA.read_text(encoding="utf-8"))
        (folder / "pdns.conf").write_text(
            f"launch=gsqlite3\ngsqlite3-database={folder}/pdns.db\nlocal-address=127.0.0.1\nlocal-port={self.port}\n"
            f"socket-dir={folder}\napi=yes\napi-key={KEY}\nwebserver=yes\nwebserver-address=127.0.0.1\n"
            f"webserver-port={self.api}\nwebserver-allow-from=127.0.0.1\nguardian=no\ndaemon=no\n"
            "security-poll-suffix=\ncache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n",
            encoding="utf-8",
        )

    def start(self) -> None:
        """It runs and answers."""
        log = (self.folder / "pdns.log").open("ab")
        argv = ["pdns_server", f"--config-dir={self.folder}"]
        self.process = subprocess.Popen(argv, stdout=log, stderr=log, preexec_fn=dying_with_us)
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.ask("GET", "zones")
                return
            except httpx.TransportError:
                assert time.monotonic() < until and self.process.poll() is None, (self.folder / "pdns.log").read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        """It answers no more."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def empty(self) -> None:
        """It runs, and has no zones."""
        if self.process is None:
            self.start()
        for zone in self.ask("GET", "zones"):
            self.ask("DELETE", zone["url"].rpartition("localhost/")[2])

    def ask(self, method: str, path: str, body: object = None) -> list[dict[str, str]]:
        """What a person does at its API."""
        url = f"{self.url}/api/v1/servers/localhost/{path}"
        answer = httpx.request(method, url, json=body, headers={"X-API-Key": KEY}, trust_env=False)
        answer.raise_for_status()
        return list(answer.json()) if answer.content else []

    def write(self, zone: str, name: str, kind: str, *contents: str) -> None:
        """Records made by hand; none: they are taken away."""
        records = [{"content": each, "disabled": False} for each in contents]
        change = {"changetype": "REPLACE", "ttl": 60, "records": records} if contents else {"changetype": "DELETE"}
        self.ask("PATCH", f"zones/{zone}", {"rrsets": [{"name": name, "type": kind, **change}]})

    def look_up(self, name: str, kind: str) -> list[str]:
        """What it answers over the wire."""
        answer = dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", port=self.port, timeout=5)
        wanted = dns.rdatatype.from_text(kind)
        return sorted(item.to_text() for found in answer.answer if found.rdtype == wanted for item in found)

    def name_of(self, ip: str) -> list[str]:
        """The names of an address."""
        return self.look_up(dns.reversename.from_address(ip).to_text(), "PTR")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])
