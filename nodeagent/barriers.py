"""Rules of the host's own that keep a bridge's guests from getting out: what hangs at the forward hook and drops.

Every chain at a hook must let a packet pass, so an accept of ours in a table of ours would not help: we say so. A rule
that cannot be understood is taken for one that lets pass, so what is told is certain, and what is not told is not.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from nodeagent.errors import CommandFailed
from nodeagent.job import Job
from nodeagent.run import run

LEGACY_TABLES = Path("/proc/net/ip_tables_names")
_VERDICTS = ("accept", "drop", "reject", "return", "jump", "goto", "queue")
Rule = List[Dict[str, Any]]
"""A rule's parts as nft tells them."""
Chains = Dict[str, List[Rule]]
_ANSWERS = {"established", "related"}


def found(bridge: str, job: Job) -> List[str]:
    """The chains that drop what guests of the bridge send out, or what comes back, by their names."""
    return sorted({*_of_nft(bridge, job), *_of_legacy(bridge, job)})


def _of_nft(bridge: str, job: Job) -> Iterator[str]:
    try:
        shown = json.loads(run(["nft", "-j", "list", "ruleset"], job).stdout or "{}").get("nftables", [])
    except (CommandFailed, ValueError):
        return
    bases = [each["chain"] for each in shown if each.get("chain", {}).get("hook") == "forward"]
    for base in bases:
        if base["family"] not in ("ip", "inet"):
            continue
        chains = _chains_of(shown, base["family"], base["table"])
        if not _passes(chains, base["name"], base.get("policy", "accept"), bridge):
            yield f"{base['family']} {base['table']} {base['name']}"


def _chains_of(shown: List[Dict[str, Any]], family: str, table: str) -> Chains:
    chains: Chains = {}
    for each in shown:
        rule = each.get("rule")
        if rule and (rule["family"], rule["table"]) == (family, table):
            chains.setdefault(rule["chain"], []).append(rule.get("expr", []))
    return chains


def _of_legacy(bridge: str, job: Job) -> Iterator[str]:
    """The same of rules in the kernel's older tables, which nft does not show."""
    if shutil.which("iptables-legacy") is None or not LEGACY_TABLES.exists():
        return
    if "filter" not in LEGACY_TABLES.read_text(encoding="ascii").split():
        # Asked, it would make the table.
        return
    shown = run(["iptables-legacy", "-S"], job, check=False)
    if not shown.exit_code and not legacy_passes(shown.stdout, bridge):
        yield "iptables-legacy FORWARD"


def legacy_passes(text: str, bridge: str) -> bool:
    """Whether rules as `iptables -S` tells them let a bridge's guests out and the answers in."""
    policy = "accept"
    chains: Chains = {}
    for words in map(shlex.split, text.splitlines()):
        if words[:2] == ["-P", "FORWARD"]:
            policy = words[2].lower()
        elif words[:1] == ["-A"]:
            chains.setdefault(words[1], []).append(_legacy_rule(words[2:]))
    return _passes(chains, "FORWARD", policy, bridge)


def _legacy_rule(words: List[str]) -> Rule:
    rule: Rule = []
    for index, word in enumerate(words[:-1]):
        value, op = words[index + 1], "!=" if index and words[index - 1] == "!" else "=="
        if word in ("-i", "-o"):
            key = "iifname" if word == "-i" else "oifname"
            name = f"{value[:-1]}*" if value.endswith("+") else value
            rule.append({"match": {"op": op, "left": {"meta": {"key": key}}, "right": name}})
        elif word in ("--ctstate", "--state"):
            right = value.lower().split(",")
            rule.append({"match": {"op": op, "left": {"ct": {"key": "state"}}, "right": right}})
        elif word in ("-j", "-g"):
            rule.append(_legacy_verdict(word, value))
        elif word in ("-s", "-d", "-p", "-m"):
            rule.append({"xt": word})
    return rule


def _legacy_verdict(word: str, value: str) -> Dict[str, Any]:
    if value.lower() in _VERDICTS:
        return {value.lower(): None}
    return {"goto" if word == "-g" else "jump": {"target": value}}


def _passes(chains: Chains, base: str, policy: str, bridge: str) -> bool:
    """Whether what guests send out may pass, and what comes back to them."""
    open_end = policy == "accept" and not _ends_closed(chains, base)
    return open_end or all(_walk(chains, base, bridge, out, 0) for out in (True, False))


def _ends_closed(chains: Chains, base: str) -> bool:
    """Whether the chain ends with a rule that lets nothing pass, as firewalld's do."""
    rules = chains.get(base, [])
    return bool(rules) and not _conditions(rules[-1]) and _verdict(rules[-1])[0] in ("drop", "reject")


def _walk(chains: Chains, name: str, bridge: str, out: bool, depth: int) -> bool:
    """Whether some rule of the chain may let it pass."""
    if depth > 16:
        return True
    for rule in chains.get(name, []):
        if not all(_may_match(each, bridge, out) for each in _conditions(rule)):
            continue
        verdict, target = _verdict(rule)
        if verdict in ("accept", "queue", "vmap"):
            return True
        if verdict in ("jump", "goto") and _walk(chains, target, bridge, out, depth + 1):
            return True
        if verdict in ("drop", "reject", "return", "goto") and not _conditions(rule):
            return False
    return False


def _conditions(rule: Rule) -> List[Dict[str, Any]]:
    return [each for each in rule if "match" in each or "xt" in each or "limit" in each]


def _verdict(rule: Rule) -> Tuple[str, str]:
    for each in rule:
        for name in (*_VERDICTS, "vmap"):
            if name in each:
                value = each[name]
                return name, value.get("target", "") if isinstance(value, dict) else ""
    return "", ""


def _may_match(part: Dict[str, Any], bridge: str, out: bool) -> bool:
    match = part.get("match")
    if match is None or not isinstance(match["left"], dict):
        return True
    values = _values(match["right"])
    key = match["left"].get("meta", {}).get("key", "")
    if key in ("iifname", "iif", "oifname", "oif"):
        of_bridge = (key[0] == "i") == out
        hits = any(_names(value, bridge) for value in values)
        # The other side is some interface that is not the bridge.
        fits = hits if of_bridge else any(value != bridge for value in values)
        return fits if match["op"] in ("==", "in") else not hits if of_bridge else True
    if match["left"].get("ct", {}).get("key") == "state" and match["op"] in ("==", "in"):
        return not out or not set(values) <= _ANSWERS
    return True


def _names(value: str, bridge: str) -> bool:
    return value == bridge or (value.endswith("*") and bridge.startswith(value[:-1]))


def _values(right: Any) -> List[str]:
    if isinstance(right, dict):
        right = right.get("set", [])
    return [str(each) for each in right] if isinstance(right, list) else [str(right)]
