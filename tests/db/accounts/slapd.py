"""A private OpenLDAP server: its own folder, configuration and socket, and a few people in it; with TLS if asked."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

import ldap
import ldap.modlist
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BASE = "dc=example,dc=org"
MANAGER = f"cn=panel,{BASE}"
SECRET = "the panel's own"
SLAPD = Path("/usr/sbin/slapd")
START_SECONDS = 60.0


class Authority:
    """Signs certificates; `path` is its own, for those who trust it."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.crt"
        self.path.write_bytes(self._sign(self.name, self.key, x509.BasicConstraints(ca=True, path_length=0)))

    def issue(self, address: str) -> tuple[Path, Path]:
        """A certificate for the host of that address and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "directory")])
        paths = self.folder / "directory.crt", self.folder / "directory.key"
        paths[0].write_bytes(self._sign(name, key, x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])))
        form = serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return paths

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, says: x509.ExtensionType) -> bytes:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(self.name, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        signed = made.add_extension(says, critical=False).sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


class Wire:
    """A TCP port that leads to another; `said` is what clients sent there, `hold` keeps it from going on.

    `greets` is what a held client is told once it has said something; after that there is silence.
    """

    def __init__(self, to: int, *, hold: bool = False, greets: bytes = b"") -> None:
        self.to = to
        self.hold = hold
        self.greets = greets
        self.said = bytearray()
        self.kept: list[socket.socket] = []
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.door.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Nothing is led any more."""
        self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()
        for each in self.kept:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.door.accept()
            except OSError:
                return
            self.kept.append(client)
            if self.hold:
                threading.Thread(target=self._greet, args=(client,), daemon=True).start()
                continue
            server = socket.create_connection(("127.0.0.1", self.to))
            self.kept.append(server)
            threading.Thread(target=self._lead, args=(client, server, self.said), daemon=True).start()
            threading.Thread(target=self._lead, args=(server, client, bytearray()), daemon=True).start()

    def _greet(self, client: socket.socket) -> None:
        try:
            if self.greets and (data := client.recv(65536)):
                self.said += data
                client.sendall(self.greets)
                # Whatever comes now is heard.
                while data := client.recv(65536):
                    self.said += data
        except OSError:
            pass

    @staticmethod
    def _lead(source: socket.socket, target: socket.socket, said: bytearray) -> None:
        try:
            while data := source.recv(65536):
                said += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens on now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Slapd:
    """The server; `uri` is its socket, `port` and `tls_port` those of ldap:// and ldaps:// on 127.0.0.1.

    With a `certificate` and its key it speaks TLS on both.
    """

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None = None) -> None:
        self.folder = folder
        self.port, self.tls_port = free_ports(2)
        urls = [f"ldap://127.0.0.1:{self.port}", *([f"ldaps://127.0.0.1:{self.tls_port}"] if certificate else [])]
        tls = f"TLSCertificateFile {certificate[0]}\nTLSCertificateKeyFile {certificate[1]}\n" if certificate else ""
        self.uri = f"ldapi://{quote(str(folder / 'ldapi'), safe='')}"
        (folder / "data").mkdir()
        schemas = "".join(f"include /etc/ldap/schema/{name}.schema\n" for name in ("core", "cosine", "inetorgperson"))
        self.urls = " ".join([self.uri, *urls])
        (folder / "slapd.conf").write_text(
            f"{schemas}{tls}modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {folder}/slapd.pid\n"
            f'database mdb\nsuffix "{BASE}"\nrootdn "{MANAGER}"\nrootpw "{SECRET}"\ndirectory {folder}/data\n',
            encoding="utf-8",
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """It runs; returns when it answers."""
        argv = [str(SLAPD), "-f", str(self.folder / "slapd.conf"), "-h", self.urls, "-d", "0"]
        with (self.folder / "slapd.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().unbind_s()
                return
            except ldap.SERVER_DOWN:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError((self.folder / "slapd.log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """It is away."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def connect(self) -> ldap.ldapobject.LDAPObject:
        """A connection that may change everything."""
        connection = ldap.initialize(self.uri)
        connection.simple_bind_s(MANAGER, SECRET)
        return connection

    def fill(self) -> None:
        """Two people, and groups of which Carl is a member."""
        self.add(BASE, objectClass=["organization", "dcObject"], o="Example", dc="example")
        for unit in ("people", "groups"):
            self.add(f"ou={unit},{BASE}", objectClass="organizationalUnit", ou=unit)
        self.person("dora", "dora's own")
        self.person("carl", "carl's own")
        for group in ("ops", "helpdesk"):
            members = [f"uid=carl,ou=people,{BASE}"] if group == "ops" else [MANAGER]
            self.add(f"cn={group},ou=groups,{BASE}", objectClass="groupOfNames", cn=group, member=members)

    def person(self, name: str, password: str) -> None:
        """Somebody who can sign in."""
        values = {"cn": name, "sn": name, "mail": f"{name}@example.org", "userPassword": password}
        self.add(f"uid={name},ou=people,{BASE}", objectClass="inetOrgPerson", uid=name, **values)

    def add(self, dn: str, **attributes: str | list[str]) -> None:
        """An entry."""
        entry = {
            name: [each.encode() for each in ([value] if isinstance(value, str) else value)]
            for name, value in attributes.items()
        }
        connection = self.connect()
        connection.add_s(dn, ldap.modlist.addModlist(entry))
        connection.unbind_s()

    def remove(self, dn: str) -> None:
        """An entry is gone."""
        connection = self.connect()
        connection.delete_s(dn)
        connection.unbind_s()

    def put(self, dn: str, name: str, *values: str) -> None:
        """An attribute has these values."""
        connection = self.connect()
        connection.modify_s(dn, [(ldap.MOD_REPLACE, name, [value.encode() for value in values])])
        connection.unbind_s()
