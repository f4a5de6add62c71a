"""Every option of vmpanel.conf, declared once: name, type, default, help, whether a restart is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from panel.option_values import count, ip_types, port, ports, positive, ranges, subnet, user_filter, web_address, yes_no


@dataclasses.dataclass(frozen=True)
class Option:
    """One option: `parse` turns the file's text into the value and raises ValueError."""

    name: str
    attribute: str
    default: Any
    help: str
    parse: Callable[[str], Any] = str
    restart: bool = True
    """Whether a change waits for the next start; without, processes take it over when they begin something anew."""
    secret: bool = False
    """Its blanks count: all that follows the `=` is the value, of `NAME = VALUE` all behind one blank."""


OPTIONS: tuple[Option, ...] = (
    Option("VarDir", "var_dir", "/var/lib/vmpanel", "Folder for keys, images and state.", Path),
    Option("LogDir", "log_dir", "/var/log/vmpanel", "Folder for log files.", Path),
    Option("ListenIp", "listen_ip", "0.0.0.0", "Address that the panel listens on."),
    Option("ListenPort", "listen_port", 1500, "Port that the panel listens on (https).", port),
    Option(
        "ListenAlso",
        "listen_also",
        (),
        "Further ports that the panel listens on (https), as 443, separated by commas.",
        ports,
    ),
    Option(
        "ListenSocket",
        "listen_socket",
        "",
        "Unix socket where a proxy of this machine hands requests on, in a folder that only it can pass; empty: none. "
        "X-Forwarded-For is believed there.",
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
        ranges,
    ),
    Option(
        "PublicUrl",
        "public_url",
        "",
        "The panel's address in browsers, as https://panel.example.org:1500; empty: no security keys.",
        web_address,
    ),
    Option("DatabaseSocket", "database_socket", "", "Unix socket of MariaDB; empty: DatabaseHost is used."),
    Option("DatabaseHost", "database_host", "127.0.0.1", "Address of MariaDB."),
    Option("DatabasePort", "database_port", 3306, "Port of MariaDB.", port),
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
        positive,
    ),
    Option(
        "RequestsWaiting",
        "requests_waiting",
        256,
        "Requests that wait for their turn behind those; what comes beyond is answered 503 with Retry-After.",
        count,
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
    Option("VmwatchListenPort", "vmwatch_listen_port", 1515, "Port that vmwatch-master listens on.", port),
    Option(
        "VmwatchResyncSeconds",
        "vmwatch_resync_seconds",
        15.0,
        "How often nodes tell the state of all their VMs; one that is silent for so long is not believed any more.",
        float,
    ),
    Option("VmwatchCurve", "vmwatch_curve", False, "Whether vmwatch's messages travel encrypted (CurveZMQ).", yes_no),
    Option(
        "PanelHere",
        "panel_here",
        True,
        "Whether the panel and vmwatch-master run on this machine; no where only workers do.",
        yes_no,
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
        count,
    ),
    Option(
        "TokensPerUser",
        "tokens_per_user",
        100,
        "How many tokens an account may have, and as many by signing in, of which the one unused longest gives way.",
        positive,
    ),
    Option(
        "WebhookNetworks",
        "webhook_networks",
        (),
        "Private address ranges that webhooks may call, also by http, separated by commas.",
        ranges,
    ),
    Option(
        "FirstNetwork",
        "first_network",
        "",
        "Address range of a new cluster's first network, as 10.77.0.0/24; empty: one that its first node does not use.",
        subnet,
    ),
    Option(
        "SecurityGroupsPerUser",
        "security_groups_of_user",
        50,
        "How many security groups an account may have.",
        int,
        False,
    ),
    Option(
        "SecurityRulesPerGroup",
        "security_rules_of_group",
        50,
        "How many rules a security group may have.",
        int,
        False,
    ),
    Option(
        "PortForwardsPerVm",
        "port_forwards_of_vm",
        20,
        "How many port forwardings a VM may have.",
        int,
        False,
    ),
    Option(
        "PortForwardsFirst",
        "port_forwards_first",
        10000,
        "The first of the nodes' ports that may lead to VMs.",
        int,
        False,
    ),
    Option(
        "PortForwardsLast",
        "port_forwards_last",
        29999,
        "The last of them.",
        int,
        False,
    ),
    Option("SnapshotsPerVm", "snapshots_per_vm", 10, "How many snapshots a VM may have.", int, False),
    Option("HistoryDays", "history_days", 365, "How long changes of VMs' status are kept.", int, False),
    Option(
        "AddressHistoryDays",
        "address_history_days",
        400,
        "How long it is kept who had an address, from when he had it no more.",
        int,
        False,
    ),
    Option(
        "AddressWaitHours",
        "address_wait_hours",
        0,
        "How long an address that a VM had is given to nobody else after it was given back; 0: not at all.",
        int,
        False,
    ),
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
        ranges,
    ),
    Option(
        "ClassicIpTypes",
        "classic_ip_types",
        {},
        "Networks that iptype of the classic API means, as public:NETWORK, private:NETWORK, nat:NETWORK; "
        "one that is not named: the first network with such addresses, else the first.",
        ip_types,
    ),
    Option(
        "ClassicImage",
        "classic_image",
        "",
        "OS image of orders over the classic API that name none (vmi); empty: the only one there is.",
    ),
    Option("LdapUri", "ldap_uri", "", "LDAP directory, as ldaps://host or ldap://host; empty: there is none."),
    Option("LdapStartTls", "ldap_start_tls", False, "Whether an ldap:// connection is encrypted by StartTLS.", yes_no),
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
        yes_no,
    ),
    Option("LdapBindDn", "ldap_bind_dn", "", "As whom the panel searches the directory; empty: as nobody."),
    Option("LdapBindPassword", "ldap_bind_password", "", "The password of LdapBindDn.", secret=True),
    Option("LdapUserSearchBase", "ldap_user_search_base", "", "Where in the directory users are."),
    Option("LdapUserFilter", "ldap_user_filter", "(uid=%(user)s)", "How a user is found by name.", user_filter),
    Option(
        "LdapGroupSearchBase",
        "ldap_group_search_base",
        "",
        "Where in the directory groups (groupOfNames) are; empty: levels and roles are given in the panel.",
    ),
    Option("LdapAdminGroup", "ldap_admin_group", "", "Group (cn) whose members are administrators."),
    Option("LdapRoles", "ldap_roles", "", "Roles of groups' members, as GROUP:ROLE, GROUP:ROLE; the first one counts."),
    Option("Debug", "debug", False, "Show tracebacks to callers; never in production.", yes_no),
)
