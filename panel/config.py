"""The configuration: vmpanel.conf, whose options options.py declares.

The file holds one NAME=VALUE a line, `#` begins a comment. It is found by VMPANEL_CONF, else
/etc/vmpanel/vmpanel.conf. An unknown name or an unfit value is an error, not a surprise later.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from panel.core.errors import ConfigError
from panel.core.wording import Text
from panel.options import OPTIONS

log = logging.getLogger(__name__)
DEFAULT_PATH = "/etc/vmpanel/vmpanel.conf"
OPEN_PASSWORDS = (
    "{place}: LdapUri: passwords would go to the directory unencrypted: use ldaps:// or LdapStartTls=yes, or allow it "
    "by LdapUnencrypted=yes."
)


class Config:
    """The options in force, as attributes; made by load()."""

    var_dir: Path
    log_dir: Path
    listen_ip: str
    listen_port: int
    listen_also: tuple[int, ...]
    listen_socket: str
    certificate: str
    certificate_key: str
    allowed_hosts: str
    trusted_proxies: tuple[str, ...]
    public_url: str
    database_socket: str
    database_host: str
    database_port: int
    database_name: str
    database_user: str
    database_password: str
    redis_url: str
    worker_concurrency: int
    requests_at_once: int
    requests_waiting: int
    lease_seconds: float
    retry_seconds: float
    undo_retry_seconds: float
    sweep_seconds: float
    node_connect_seconds: float
    shutdown_seconds: float
    guest_reachable_seconds: float
    rescue_image: str
    vmwatch_listen_ip: str
    vmwatch_listen_port: int
    vmwatch_resync_seconds: float
    vmwatch_curve: bool
    panel_here: bool
    vmwatch_config_dir: str
    rate_limit_token: int
    rate_limit_address: int
    sign_in_token_days: int
    tokens_per_user: int
    webhook_networks: tuple[str, ...]
    first_network: str
    snapshots_per_vm: int
    security_groups_of_user: int
    security_rules_of_group: int
    port_forwards_of_vm: int
    port_forwards_first: int
    port_forwards_last: int
    history_days: int
    address_history_days: int
    address_wait_hours: int
    journal_days: int
    task_days: int
    problem_days: int
    webhook_days: int
    statistics_days: int
    statistics_hour_days: int
    statistics_day_days: int
    restrict_authinfo: tuple[str, ...]
    classic_ip_types: dict[str, str]
    classic_image: str
    ldap_uri: str
    ldap_start_tls: bool
    ldap_ca_certificate: str
    ldap_unencrypted: bool
    ldap_bind_dn: str
    ldap_bind_password: str
    ldap_user_search_base: str
    ldap_user_filter: str
    ldap_group_search_base: str
    ldap_admin_group: str
    ldap_roles: str
    debug: bool

    def __init__(self, values: dict[str, Any], origin: str = "") -> None:
        self.origin = origin
        self.named = frozenset(values)
        """The options that the file has."""
        self.read_at: tuple[int, int] | None = None
        for option in OPTIONS:
            setattr(self, option.attribute, values.get(option.name, option.default))
        self.var_dir = Path(self.var_dir)
        self.log_dir = Path(self.log_dir)

    def refresh(self) -> None:
        """Take what the file says by now of the options that need no restart. A file that is wrong changes nothing."""
        if not self.origin or (state := _state_of(Path(self.origin))) == self.read_at:
            return
        # Once for each change, also where it cannot be read.
        self.read_at = state
        try:
            now = load(self.origin)
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            log.warning("the configuration stays as it was: %s", error)
            return
        for option in OPTIONS:
            if not option.restart:
                setattr(self, option.attribute, getattr(now, option.attribute))
                self.named = (self.named - {option.name}) | (now.named & {option.name})

    @property
    def own_host(self) -> str:
        """The address by which this machine's own programs reach the panel."""
        everywhere = self.listen_ip in ("", "0.0.0.0", "::")
        address = "127.0.0.1" if everywhere else self.listen_ip
        return f"[{address}]" if ":" in address else address

    @property
    def hosts(self) -> list[str]:
        """The names that the panel answers to; "*" is any."""
        named = [host.strip() for host in self.allowed_hosts.split(",") if host.strip()]
        # vmwatch-master speaks to the panel by its own address, whatever names browsers use.
        return [*(named or [urlsplit(self.public_url).hostname or "*"]), self.own_host]

    @property
    def certificate_path(self) -> Path:
        """The TLS certificate in force."""
        return Path(self.certificate) if self.certificate else self.var_dir / "tls" / "panel.crt"

    @property
    def certificate_key_path(self) -> Path:
        """The TLS certificate's key in force."""
        return Path(self.certificate_key) if self.certificate_key else self.var_dir / "tls" / "panel.key"

    @property
    def vmwatch_master_conf(self) -> Path:
        """Where vmwatch-master.conf is."""
        folder = Path(self.vmwatch_config_dir) if self.vmwatch_config_dir else self.var_dir / "etc"
        return folder / "vmwatch-master.conf"

    @property
    def images_dir(self) -> Path:
        """Where the panel keeps the files of its images."""
        return self.var_dir / "images"


def parse(text: str, origin: str = "configuration") -> Config:
    """The options in `text`; raises ConfigError naming the option and the line."""
    by_name = {option.name: option for option in OPTIONS}
    values: dict[str, Any] = {}
    for number, name, value in _lines(text, origin):
        if name not in by_name:
            data = {"place": f"{origin}:{number}", "name": name}
            raise ConfigError(Text("{place}: there is no option “{name}”.", data), option=name)
        option = by_name[name]
        try:
            values[name] = option.parse(value if option.secret else value.strip())
        except ValueError as error:
            said = {"place": f"{origin}:{number}", "name": name, "error": Text(str(error))}
            raise ConfigError(Text("{place}: {name}: {error}.", said), option=name) from error
    config = Config(values, origin)
    _refuse_open_passwords(config, origin)
    return config


def _refuse_open_passwords(config: Config, origin: str) -> None:
    """Raise ConfigError for a directory that passwords would go to unencrypted without anybody having said so."""
    schemes = {uri.partition("://")[0].lower() for uri in config.ldap_uri.replace(",", " ").split()}
    if "ldaps" in schemes and config.ldap_start_tls:
        text = Text("{place}: LdapStartTls is for ldap://, not for ldaps://.", {"place": origin})
        raise ConfigError(text, option="LdapStartTls")
    # ldapi:// is a socket of this machine.
    if not (schemes <= {"ldaps", "ldapi"} or config.ldap_start_tls or config.ldap_unencrypted):
        raise ConfigError(Text(OPEN_PASSWORDS, {"place": origin}), option="LdapUri")


def _lines(text: str, origin: str) -> Iterator[tuple[int, str, str]]:
    # Lines of a file, not splitlines(), which ends one at signs that a password may have.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.removesuffix("\r").partition("=")
        if not separator:
            place = {"place": f"{origin}:{number}"}
            raise ConfigError(Text("{place}: expected NAME=VALUE.", place), option=name.strip())
        yield number, name.strip(), value.removeprefix(" ") if name != name.rstrip() else value


def load(path: str | None = None) -> Config:
    """Read the configuration file; a missing file means the defaults.

    Raises ConfigError.
    """
    where = Path(path or os.environ.get("VMPANEL_CONF", DEFAULT_PATH))
    read_at = _state_of(where)
    try:
        text = where.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    config = parse(text, str(where))
    config.read_at = read_at
    return config


def _state_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
