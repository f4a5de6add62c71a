"""A private OpenLDAP server: its own folder, configuration and socket, and a few people in it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import ldap
import ldap.modlist

BASE = "dc=example,dc=org"
MANAGER = f"cn=panel,{BASE}"
SECRET = "the panel's own"
SLAPD = Path("/usr/sbin/slapd")
START_SECONDS = 60.0


class Slapd:
    """The server; `uri` is its socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"ldapi://{quote(str(folder / 'ldapi'), safe='')}"
        (folder / "data").mkdir()
        schemas = "".join(f"include /etc/ldap/schema/{name}.schema\n" for name in ("core", "cosine", "inetorgperson"))
        (folder / "slapd.conf").write_text(
            f"{schemas}modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {folder}/slapd.pid\n"
            f'database mdb\nsuffix "{BASE}"\nrootdn "{MANAGER}"\nrootpw "{SECRET}"\ndirectory {folder}/data\n',
            encoding="utf-8",
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """It runs; returns when it answers."""
        argv = [str(SLAPD), "-f", str(self.folder / "slapd.conf"), "-h", self.uri, "-d", "0"]
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
