"""What stands on disk before anything runs: folders, configuration, certificate, keys."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import os
import socket
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from panel.standalone.options import Options
from panel.standalone.private import Unfit

LONGEST_FOLDER = 70
"""A socket's path has at most 107 characters (unix(7)), and supervisord adds some of its own while it makes one."""
VALID = datetime.timedelta(days=825)
SSH_PORTS = range(2222, 2322)


class Layout:
    """Where things are."""

    def __init__(self, options: Options) -> None:
        self.var = options.var
        self.conf = options.var / "vmpanel.conf"
        self.log = options.var / "log"
        self.keys = options.var / "keys"
        self.ssh = options.var / "ssh"
        self.images = options.var / "images"
        self.tls = options.var / "tls"
        run = options.var / "run"
        if len(str(run)) > LONGEST_FOLDER:
            run = Path("/run") / f"vmpanel-{hashlib.sha256(str(options.var).encode()).hexdigest()[:8]}"
        self.run = run

    def make(self) -> None:
        """All folders are there; those with secrets are root's alone. Raises Unfit."""
        try:
            for folder in (self.var, self.log, self.images):
                folder.mkdir(parents=True, exist_ok=True)
            for folder in (self.keys, self.ssh, self.tls, self.run):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unfit(f"The folder {error.filename} cannot be made: {error.strerror}.") from error


def write_secret(path: Path, text: str) -> None:
    """The file has this text and is root's alone, from its first moment on."""
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    partial.rename(path)


def write_configuration(layout: Layout, options: Options, database: Path, redis: Path) -> None:
    """var/vmpanel.conf says what this script decides; lines that an administrator added stay."""
    ours = {
        "VarDir": str(layout.var),
        "LogDir": str(layout.log),
        "ListenIp": options.listen,
        "ListenPort": str(options.port),
        "DatabaseSocket": str(database),
        "DatabaseUser": "root",
        "RedisUrl": f"unix://{redis}",
        **({"FirstNetwork": options.network} if options.network else {}),
    }
    kept = []
    if layout.conf.exists():
        for line in layout.conf.read_text(encoding="utf-8").splitlines():
            if line.partition("=")[0].strip() not in ours and not line.startswith("# Written by script/server"):
                kept.append(line)
    lines = ["# Written by script/server at every start; lines with other options than these are kept."]
    lines += [f"{name}={value}" for name, value in ours.items()]
    write_secret(layout.conf, "\n".join([*lines, *kept]) + "\n")


def own_addresses() -> list[str]:
    """The IP addresses of this machine."""
    shown = subprocess.run(["ip", "-j", "addr"], capture_output=True, text=True, check=False).stdout or "[]"
    found = {"127.0.0.1", "::1"}
    for interface in json.loads(shown):
        found |= {entry["local"] for entry in interface.get("addr_info", []) if not entry["local"].startswith("fe80")}
    return sorted(found)


def make_certificate(layout: Layout) -> bool:
    """A self-signed certificate for this machine's names and addresses; answers whether it was made now.

    One that is there and still valid is left, so that who trusts it needs to do so just once.
    """
    certificate, key_file = layout.tls / "panel.crt", layout.tls / "panel.key"
    now = datetime.datetime.now(datetime.UTC)
    if certificate.exists() and key_file.exists():
        old = x509.load_pem_x509_certificate(certificate.read_bytes())
        if old.not_valid_after_utc > now + datetime.timedelta(days=7):
            return False
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, socket.gethostname()[:64] or "vmpanel")])
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    if (host := socket.gethostname()) and host != "localhost":
        names.append(x509.DNSName(host))
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in own_addresses()]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_secret(key_file, private.decode())
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return True


def make_key(path: Path, comment: str) -> str:
    """An ssh key pair at `path` and `path`.pub, made on first use; answers the public line."""
    if not path.exists():
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        subprocess.run(argv, check=True, capture_output=True)
    return Path(f"{path}.pub").read_text(encoding="ascii").strip()


def prepare_sshd(layout: Layout) -> int:
    """A configuration for an sshd of our own on the loopback address, for this machine as a node; answers its port.

    The machine's own sshd, if there is one, stays as it is: it may forbid root, or may not run at all.
    """
    make_key(layout.ssh / "host_ed25519", "vmpanel")
    public = make_key(layout.ssh / "first_contact", "vmpanel-first-contact")
    (layout.ssh / "authorized_keys").write_text(f"{public}\n", encoding="ascii")
    port_file = layout.ssh / "port"
    port = int(port_file.read_text(encoding="ascii")) if port_file.exists() else _free_port()
    if not port_is_free("127.0.0.1", port):
        raise Unfit(f"Port {port} of 127.0.0.1, where this machine's node is reached, is taken by another program.")
    port_file.write_text(str(port), encoding="ascii")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {layout.ssh / 'host_ed25519'}",
        "PidFile none",
        f"AuthorizedKeysFile .ssh/authorized_keys {layout.ssh / 'authorized_keys'}",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "UseDNS no",
        # Who owns the folders above var/ is this machine's matter; the key file itself is root's.
        "StrictModes no",
        "MaxStartups 100",
        "MaxSessions 100",
        "Subsystem sftp internal-sftp",
    ]
    (layout.ssh / "sshd_config").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return port


def _free_port() -> int:
    for port in SSH_PORTS:
        if port_is_free("127.0.0.1", port):
            return port
    raise Unfit(f"None of the ports {SSH_PORTS[0]} to {SSH_PORTS[-1]} of 127.0.0.1 is free.")


def port_is_free(address: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
