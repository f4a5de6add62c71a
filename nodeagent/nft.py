"""nft's tables, as the kernel has them and as it would have rules that we write.

Both are told by nft itself and so can be compared: what is meant is loaded into a network namespace that ends
with the program, and nft echoes what became of it.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Sequence

from nodeagent.errors import CommandFailed, Unsupported
from nodeagent.job import Job
from nodeagent.run import Finished, run

Chains = Dict[str, List[Any]]
"""By its name each chain: its definition, and its rules in their order."""
PROBE = "vmpanel_probe"
_IN_NO_NETWORK = ("unshare", "--net", "--")


def listed(family: str, table: str, job: Job) -> Chains:
    """The table's chains in the kernel; none where there is no such table."""
    shown = run(["nft", "-j", "list", "table", family, table], job, check=False)
    return {} if _is_absent(shown) else _chains(_parsed(shown))


def meant(rules: str, job: Job) -> Chains:
    """The chains that the kernel would have of these rules, which are of one table; nothing is changed."""
    return _chains(_parsed(run([*_IN_NO_NETWORK, "nft", "-e", "-j", "-f", "-"], job, stdin=rules)))


def tables(family: str, job: Job) -> List[str]:
    """The names of all tables of a family."""
    shown = _parsed(run(["nft", "-j", "list", "tables", family], job))
    return sorted(each["table"]["name"] for each in shown if "table" in each)


def refuse_unknown(families: Sequence[str], job: Job) -> None:
    """Raise Unsupported where the kernel has no filter of one of these families; nothing is changed."""
    for family in families:
        asked = run(["nft", "--check", "add", "table", family, PROBE], job, check=False)
        if "not supported" in asked.stderr:
            raise Unsupported(f"The node's kernel has no packet filter of the family “{family}” (nf_tables).")


def drop(family: str, table: str, job: Job) -> None:
    """The table is not there."""
    finished = run(["nft", "delete", "table", family, table], job, check=False)
    if not _is_absent(finished) and finished.exit_code != 0:
        raise _failed(finished)


def _is_absent(finished: Finished) -> bool:
    return finished.exit_code != 0 and "No such file" in finished.stderr


def _parsed(finished: Finished) -> List[Dict[str, Any]]:
    if finished.exit_code != 0:
        raise _failed(finished)
    # An echo says of each thing that it is added.
    return [each.get("add", each) for each in json.loads(finished.stdout or '{"nftables": []}')["nftables"]]


def _failed(finished: Finished) -> CommandFailed:
    text = f"nft ended with {finished.exit_code}."
    return CommandFailed(text, argv0="nft", exit_code=finished.exit_code, stderr=finished.stderr)


def _chains(shown: List[Dict[str, Any]]) -> Chains:
    found: Chains = {}
    for each in shown:
        if "chain" in each:
            found[each["chain"]["name"]] = [_comparable(each["chain"])]
        elif "rule" in each:
            found[each["rule"]["chain"]].append(_comparable(each["rule"]["expr"]))
    return found


def _comparable(value: Any) -> Any:
    """The same without the kernel's numbers of things, which differ each time, and with sets in one order."""
    if isinstance(value, dict):
        found = {name: _comparable(each) for name, each in value.items() if name != "handle"}
        # An echo has them as they were written, the kernel by their values.
        if isinstance(found.get("set"), list):
            found["set"] = sorted(found["set"], key=json.dumps)
        return found
    return [_comparable(each) for each in value] if isinstance(value, list) else value
