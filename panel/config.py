"""Every option of vmpanel.conf, declared once: name, type, default, help, whether a restart is needed.

The file holds one NAME=VALUE a line, `#` begins a comment. It is found by VMPANEL_CONF, else
/etc/vmpanel/vmpanel.conf. An unknown name or an unfit value is an error, not a surprise later.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from panel.core.errors import ConfigError

DEFAULT_PATH = "/etc/vmpanel/vmpanel.conf"


def _yes_no(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError("must be yes or no")
    return text.lower() == "yes"


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise ValueError("must be a port, 1 to 65535")
    return number


def _ports(text: str) -> tuple[int, ...]:
    return tuple(_port(part) for part in text.split(",") if part.strip())


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 36_500:
        raise ValueError("must be a number, 0 to 36500")
    return number


def _positive(text: str) -> int:
    number = _count(text)
    if not number:
        raise ValueError("must be at least 1")
    return number


def _subnet(text: str) -> str:
    if not text:
        return ""
    network = ipaddress.IPv4Network(text.strip())
    if not network.is_private or not 16 <= network.prefixlen <= 27:
        raise ValueError("must be a private IPv4 network of 16 to 27 bits, as 10.77.0.0/24")
    return str(network)


def _ranges(text: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(part.strip(), strict=False)) for part in text.split(",") if part.strip())


def _ip_types(text: str) -> dict[str, str]:
    pairs = [part.partition(":") for part in text.split(",") if part.strip()]
    found = {kind.strip().lower(): network.strip() for kind, _, network in pairs}
    if not set(found) <= {"public", "private", "nat"} or not all(found.values()) or len(found) < len(pairs):
        raise ValueError("must be KIND:NETWORK, KIND:NETWORK, where a kind is public, private or nat")
    return found


def _web_address(text: str) -> str:
    """`https://name` or `https://name:port` as browsers write an origin: without the port that goes without saying."""
    parts = urlsplit(text.rstrip("/"))
    if parts.scheme != "https" or parts.netloc.rpartition("@")[1] or parts.path or parts.query or parts.fragment:
        raise ValueError("must be an address as https://panel.example.org or https://panel.example.org:1500")
    name, port = parts.hostname or "", parts.port
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", name) or name.rpartition(".")[2].isdigit():
        raise ValueError("must have a name, not an IP address")
    return f"https://{name}" if port in (None, 443) else f"https://{name}:{port}"


def _user_filter(text: str) -> str:
    if "%(user)s" not in text:
        raise ValueError("must have %(user)s where the name goes")
    return text


@dataclasses.dataclass(frozen=True)
class Option:
    """One option: `parse` turns the file's text into the value and raises ValueError."""

    name: str
    attribute: str
    default: Any
    help: str
    parse: Callable[[str], Any] = str
    restart: bool = True
    secret: bool = False
    """Its blanks count: all that follows the `=` is the value, of `NAME = VALUE` all behind one blank."""


OPTIONS: tuple[Option, ...] = (
    Option("VarDir", "var_dir", "/var/lib/vmpanel", "Folder for keys, images and state.", Path),
    Option("LogDir", "log_dir", "/var/log/vmpanel", "Folder for log files.", Path),
    Option("ListenIp", "listen_ip", "0.0.0.0", "Address that the panel listens on."),
    Option("ListenPort", "listen_port", 1500, "Port that the panel listens on (https).", _port),
    Option(
        "ListenAlso",
        "listen_also",
        (),
        "Further ports that the panel listens on (https), as 443, separated by commas.",
        _ports,
    ),
    Option("Certificate", "certificate", "", "TLS certificate file; empty: VarDir/tls/panel.crt."),
    Option("CertificateKey", "certificate_key", "", "TLS key file; empty: VarDir/tls/panel.key."),
    Option(
        "AllowedHosts",
        "allowed_hosts",
        "",
        "Host names that the panel answers to, separated by commas; empty: that of PublicUrl, or any without one.",
    ),
    Option(
        "TrustedProxies",
        "trusted_proxies",
        (),
        "Addresses or ranges, separated by commas, of proxies whose X-Forwarded-For is believed; empty: of none.",
        _ranges,
    ),
    Option(
        "PublicUrl",
        "public_url",
        "",
        "The panel's address in browsers, as https://panel.example.org:1500; empty: no security keys.",
        _web_address,
    ),
    Option("DatabaseSocket", "database_socket", "", "Unix socket of MariaDB; empty: DatabaseHost is used."),
    Option("DatabaseHost", "database_host", "127.0.0.1", "Address of MariaDB."),
    Option("DatabasePort", "database_port", 3306, "Port of MariaDB.", _port),
    Option("DatabaseName", "database_name", "vmpanel", "Name of the database."),
    Option("DatabaseUser", "database_user", "vmpanel", "User of the database."),
    Option("DatabasePassword", "database_password", "", "Password of the database user.", secret=True),
    Option("RedisUrl", "redis_url", "redis://127.0.0.1:6379/0", "Redis, as redis://host:port/db or unix:///path."),
    Option("WorkerConcurrency", "worker_concurrency", 4, "Tasks that one worker carries out at a time.", int),
    Option(
        "RequestsAtOnce",
        "requests_at_once",
        12,
        "Requests that one panel process carries out at a time, each with a thread and a connection to the database.",
        _positive,
    ),
    Option(
        "RequestsWaiting",
        "requests_waiting",
        256,
        "Requests that wait for their turn behind those; what comes beyond is answered 503 with Retry-After.",
        _count,
    ),
    Option(
        "LeaseSeconds", "lease_seconds", 15.0, "How long a worker's hold on a task lasts without a heartbeat.", float
    ),
    Option("RetrySeconds", "retry_seconds", 300.0, "How long a step is tried again before the task is undone.", float),
    Option(
        "UndoRetrySeconds",
        "undo_retry_seconds",
        3600.0,
        "How long an undo is tried again before the task is stuck.",
        float,
    ),
    Option("SweepSeconds", "sweep_seconds", 2.0, "How often a worker looks for tasks that nobody holds.", float),
    Option("NodeConnectSeconds", "node_connect_seconds", 10.0, "How long an ssh connection to a node may take.", float),
    Option(
        "ShutdownSeconds",
        "shutdown_seconds",
        60.0,
        "How long a guest may take to shut down before it is forced off.",
        float,
        False,
    ),
    Option(
        "GuestReachableSeconds",
        "guest_reachable_seconds",
        600.0,
        "How long a new guest may take until it answers.",
        float,
    ),
    Option(
        "RescueImage",
        "rescue_image",
        "",
        "Name of the OS image that vm.rescue boots; empty: each request names one.",
        str,
        False,
    ),
    Option("VmwatchListenIp", "vmwatch_listen_ip", "", "Address that vmwatch-master listens on; empty: chosen."),
    Option("VmwatchListenPort", "vmwatch_listen_port", 1515, "Port that vmwatch-master listens on.", _port),
    Option(
        "VmwatchResyncSeconds",
        "vmwatch_resync_seconds",
        15.0,
        "How often nodes tell the state of all their VMs; one that is silent for so long is not believed any more.",
        float,
    ),
    Option("VmwatchCurve", "vmwatch_curve", False, "Whether vmwatch's messages travel encrypted (CurveZMQ).", _yes_no),
    Option(
        "PanelHere",
        "panel_here",
        True,
        "Whether the panel and vmwatch-master run on this machine; no where only workers do.",
        _yes_no,
    ),
    Option("VmwatchConfigDir", "vmwatch_config_dir", "", "Folder of vmwatch-master.conf; empty: VarDir/etc."),
    Option(
        "RateLimitToken", "rate_limit_token", 3000, "Calls of the API a minute that one token may make; 0: any.", int
    ),
    Option(
        "RateLimitAddress",
        "rate_limit_address",
        6000,
        "Calls of the API a minute that one address may make; 0: any.",
        int,
    ),
    Option(
        "SignInTokenDays",
        "sign_in_token_days",
        30,
        "How long a token lasts that a name and a password brought; 0: for ever.",
        _count,
    ),
    Option(
        "TokensPerUser",
        "tokens_per_user",
        100,
        "How many tokens an account may have, and as many by signing in, of which the one unused longest gives way.",
        _positive,
    ),
    Option(
        "WebhookNetworks",
        "webhook_networks",
        (),
        "Private address ranges that webhooks may call, also by http, separated by commas.",
        _ranges,
    ),
    Option(
        "FirstNetwork",
        "first_network",
        "",
        "Address range of a new cluster's first network, as 10.77.0.0/24; empty: one that its first node does not use.",
        _subnet,
    ),
    Option("SnapshotsPerVm", "snapshots_per_vm", 10, "How many snapshots a VM may have.", int, False),
    Option("HistoryDays", "history_days", 365, "How long changes of VMs' status are kept.", int, False),
    Option("JournalDays", "journal_days", 400, "How long the journal is kept.", int, False),
    Option("TaskDays", "task_days", 90, "How long ended tasks and batches are kept.", int, False),
    Option("ProblemDays", "problem_days", 365, "How long closed problems are kept.", int, False),
    Option("WebhookDays", "webhook_days", 30, "How long webhooks' deliveries are kept.", int, False),
    Option("StatisticsDays", "statistics_days", 7, "How long statistics of ten minutes are kept.", int, False),
    Option("StatisticsHourDays", "statistics_hour_days", 90, "How long statistics of hours are kept.", int, False),
    Option("StatisticsDayDays", "statistics_day_days", 1095, "How long statistics of days are kept.", int, False),
    Option(
        "RestrictAuthinfo",
        "restrict_authinfo",
        (),
        "Address ranges, as 192.0.2.0/24, separated by commas, from which the classic API takes authinfo; empty: all.",
        _ranges,
    ),
    Option(
        "ClassicIpTypes",
        "classic_ip_types",
        {},
        "Networks that iptype of the classic API means, as public:NETWORK, private:NETWORK, nat:NETWORK; "
        "one that is not named: the first network with such addresses, else the first.",
        _ip_types,
    ),
    Option(
        "ClassicImage",
        "classic_image",
        "",
        "OS image of orders over the classic API that name none (vmi); empty: the only one there is.",
    ),
    Option("LdapUri", "ldap_uri", "", "LDAP directory, as ldaps://host or ldap://host; empty: there is none."),
    Option("LdapStartTls", "ldap_start_tls", False, "Whether an ldap:// connection is encrypted by StartTLS.", _yes_no),
    Option(
        "LdapCaCertificate",
        "ldap_ca_certificate",
        "",
        "File of the authorities that sign the directory's certificate; empty: the system's.",
    ),
    Option(
        "LdapUnencrypted",
        "ldap_unencrypted",
        False,
        "Whether passwords may go to an ldap:// directory without encryption.",
        _yes_no,
    ),
    Option("LdapBindDn", "ldap_bind_dn", "", "As whom the panel searches the directory; empty: as nobody."),
    Option("LdapBindPassword", "ldap_bind_password", "", "The password of LdapBindDn.", secret=True),
    Option("LdapUserSearchBase", "ldap_user_search_base", "", "Where in the directory users are."),
    Option("LdapUserFilter", "ldap_user_filter", "(uid=%(user)s)", "How a user is found by name.", _user_filter),
    Option(
        "LdapGroupSearchBase",
        "ldap_group_search_base",
        "",
        "Where in the directory groups (groupOfNames) are; empty: levels and roles are given in the panel.",
    ),
    Option("LdapAdminGroup", "ldap_admin_group", "", "Group (cn) whose members are administrators."),
    Option("LdapRoles", "ldap_roles", "", "Roles of groups' members, as GROUP:ROLE, GROUP:ROLE; the first one counts."),
    Option("Debug", "debug", False, "Show tracebacks to callers; never in production.", _yes_no),
)


class Config:
    """The options in force, as attributes; made by load()."""

    var_dir: Path
    log_dir: Path
    listen_ip: str
    listen_port: int
    listen_also: tuple[int, ...]
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
    history_days: int
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

    def __init__(self, values: dict[str, Any]) -> None:
        for option in OPTIONS:
            setattr(self, option.attribute, values.get(option.name, option.default))
        self.var_dir = Path(self.var_dir)
        self.log_dir = Path(self.log_dir)

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
            raise ConfigError(f"{origin}:{number}: there is no option “{name}”.", option=name)
        option = by_name[name]
        try:
            values[name] = option.parse(value if option.secret else value.strip())
        except ValueError as error:
            raise ConfigError(f"{origin}:{number}: {name}: {error}.", option=name) from error
    config = Config(values)
    _refuse_open_passwords(config, origin)
    return config


def _refuse_open_passwords(config: Config, origin: str) -> None:
    """Raise ConfigError for a directory that passwords would go to unencrypted without anybody having said so."""
    schemes = {uri.partition("://")[0].lower() for uri in config.ldap_uri.replace(",", " ").split()}
    if "ldaps" in schemes and config.ldap_start_tls:
        raise ConfigError(f"{origin}: LdapStartTls is for ldap://, not for ldaps://.", option="LdapStartTls")
    # ldapi:// is a socket of this machine.
    if not (schemes <= {"ldaps", "ldapi"} or config.ldap_start_tls or config.ldap_unencrypted):
        reason = "passwords would go to the directory unencrypted"
        way = "use ldaps:// or LdapStartTls=yes, or allow it by LdapUnencrypted=yes"
        raise ConfigError(f"{origin}: LdapUri: {reason}: {way}.", option="LdapUri")


def _lines(text: str, origin: str) -> Iterator[tuple[int, str, str]]:
    # Lines of a file, not splitlines(), which ends one at signs that a password may have.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.removesuffix("\r").partition("=")
        if not separator:
            raise ConfigError(f"{origin}:{number}: expected NAME=VALUE.", option=name.strip())
        yield number, name.strip(), value.removeprefix(" ") if name != name.rstrip() else value


def load(path: str | None = None) -> Config:
    """Read the configuration file; a missing file means the defaults.

    Raises ConfigError.
    """
    where = Path(path or os.environ.get("VMPANEL_CONF", DEFAULT_PATH))
    try:
        text = where.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    return parse(text, str(where))
