"""What node.add looks at before it writes anything on a host: each refusal is a code and a sentence.

All are told together, so that a person mends them in one go. What the host has of ours is judged here too:
whose node it is, and whether another host goes by its libvirt UUID.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from panel.cluster import bare, health, keys, parts, services
from panel.cluster.marks import Mark, panel_id, parse
from panel.cluster.models import Node
from panel.cluster.porter import Porter
from panel.core.errors import AlreadyExists, HostUnsuitable
from panel.core.wording import Text, joined

AUTHORIZED_KEYS = ".ssh/authorized_keys"
MACHINE = "x86_64"
LEAST_FREE_BYTES = 128 * 1024**2
LEAST_FREE_FILES = 100
LEAST_SESSIONS = 4
"""Sessions of one connection that are open at a time: the agent, two transfers of files, a look."""
KEY_KIND = "ssh-ed25519"
REACH_SECONDS = 3.0
OF_SSH = ("not_root", "no_root", "keys_elsewhere", "no_keys", "key_kind", "key_not_enough", "few_sessions")
"""What keeps the panel from speaking to a host at all, by code."""


@dataclass(frozen=True)
class Refusal:
    """Why a host cannot be a node as it is, and what to do."""

    code: str
    text: Text

    def as_dict(self) -> dict[str, str]:
        """As errors' data have it: the sentence in English, since programs go by the code."""
        return {"code": self.code, "text": self.text.english}


def look(porter: Porter) -> dict[str, Any]:
    """What the host is to us, with `clock`, by how many seconds its clock is ahead; nothing is written."""
    reach = [address for part in parts.every().values() for address in part.reach() if _answers(*address)]
    asked_at = time.time()
    seen = bare.ask(porter, "look", key=keys.public_key(), reach=reach)
    seen["clock"] = health.clock_difference(asked_at, time.time(), seen["time"])
    return seen


def refuse_unsuitable(node: Node, seen: dict[str, Any], only: Collection[str] = ()) -> None:
    """Raise HostUnsuitable with all that is in the way, or what of it is among `only`, by code."""
    found = [each for each in refusals(seen) if not only or each.code in only]
    if found:
        text = joined((each.text for each in found), " ")
        raise HostUnsuitable(
            Text("The host cannot be a node as it is. {reasons} Nothing was written on it.", {"reasons": text}),
            node=node.name,
            reasons=[each.as_dict() for each in found],
        )


def refusals(seen: dict[str, Any]) -> Iterator[Refusal]:
    """All that is in the way, from what look() saw."""
    if seen["uid"] != 0:
        yield Refusal("not_root", Text("“{user}” is not root there: sign in as root.", {"user": seen["user"]}))
    if seen["machine"] != MACHINE:
        data = {"machine": seen["machine"], "wanted": MACHINE}
        yield Refusal("machine", Text("Its processor is {machine}; nodes are {wanted}.", data))
    if not seen["installers"]:
        yield Refusal("no_installer", Text("It has neither apt-get nor dnf to install packages with."))
    yield from _of_places(seen["places"])
    yield from _of_sshd(seen["sshd"], seen["user"], seen["home"])
    seconds = abs(seen["clock"])
    if seconds >= health.CLOCK_ERROR_SECONDS:
        text = "Its clock is {seconds:.0f} s behind the panel's: have both follow a time server."
        if seen["clock"] > 0:
            text = "Its clock is {seconds:.0f} s ahead of the panel's: have both follow a time server."
        yield Refusal("clock", Text(text, {"seconds": seconds}))
    for address, reason in seen["reach"].items():
        if reason:
            text = "It does not reach the panel at {address} ({reason}): let it through the firewalls between them."
            yield Refusal("panel_unreachable", Text(text, {"address": address, "reason": reason}))


def _of_places(places: dict[str, dict[str, Any]]) -> Iterator[Refusal]:
    """One refusal a place in the way, whichever folders of ours would be in it."""
    told = set()
    for path, place in places.items():
        refusal = _of_place(path, place)
        if refusal is not None and (refusal.code, place["at"]) not in told:
            told.add((refusal.code, place["at"]))
            yield refusal


def _of_place(path: str, place: dict[str, Any]) -> Refusal | None:
    data = {"path": path, "at": place["at"]}
    if not place["folder"]:
        return Refusal("no_folder", Text("{path} cannot be made there: {at} is no folder.", data))
    if place["read_only"]:
        text = "{at} is mounted read-only, and {path} must be written: mount it writable."
        return Refusal("read_only", Text(text, data))
    if not place["writable"]:
        return Refusal("no_rights", Text("{at} may not be written to, and {path} must be.", data))
    if place["free_bytes"] < LEAST_FREE_BYTES:
        text = "The file system of {at} has {free} MiB free, and {path} needs {least} MiB."
        sizes = {"free": place["free_bytes"] >> 20, "least": LEAST_FREE_BYTES >> 20}
        return Refusal("no_space", Text(text, {**data, **sizes}))
    if place["free_files"] is not None and place["free_files"] < LEAST_FREE_FILES:
        return Refusal("no_space", Text("The file system of {at} has no room for more files (inodes).", data))
    return None


def _of_sshd(said: dict[str, list[str]], user: str, home: str) -> Iterator[Refusal]:
    """What in the options of its sshd would keep the panel's key from letting it in; one that said nothing has none."""
    if said.get("permitrootlogin") in (["no"], ["forced-commands-only"]):
        text = "Its sshd does not let root in by key: set PermitRootLogin to “prohibit-password”, and reload sshd."
        yield Refusal("no_root", Text(text))
    files = " ".join(said.get("authorizedkeysfile", [])).split()
    if files and f"{home}/{AUTHORIZED_KEYS}" not in _expanded(files, user, home):
        text = "Its sshd reads authorized keys from {files} alone: add {file} to AuthorizedKeysFile."
        yield Refusal("keys_elsewhere", Text(text, {"files": " ".join(files), "file": AUTHORIZED_KEYS}))
    if said.get("pubkeyauthentication") == ["no"]:
        yield Refusal("no_keys", Text("Its sshd takes no keys: set PubkeyAuthentication to yes."))
    kinds = _words(said.get("pubkeyacceptedalgorithms", said.get("pubkeyacceptedkeytypes", [])), ",")
    if kinds and KEY_KIND not in kinds:
        text = "Its sshd takes no {kind} keys, as the panel's is: add it to what it accepts."
        yield Refusal("key_kind", Text(text, {"kind": KEY_KIND}))
    methods = _words(said.get("authenticationmethods", []), " ")
    if methods and not {"any", "publickey"} & set(methods):
        text = "Its sshd wants {methods} to sign in: have “publickey” alone be enough for the panel."
        yield Refusal("key_not_enough", Text(text, {"methods": ", ".join(methods)}))
    most = _words(said.get("maxsessions", []), " ")
    if most and most[0].isdigit() and int(most[0]) < LEAST_SESSIONS:
        text = "Its sshd lets a connection have {most} sessions: set MaxSessions to {least} or more."
        yield Refusal("few_sessions", Text(text, {"most": most[0], "least": LEAST_SESSIONS}))


def _words(lines: Iterable[str], separator: str) -> list[str]:
    return [word for line in lines for word in line.split(separator) if word]


def _expanded(files: Iterable[str], user: str, home: str) -> list[str]:
    """The paths that AuthorizedKeysFile means (sshd_config(5), TOKENS)."""
    values = {"%%": "%", "%h": home, "%u": user}
    found = []
    for file in files:
        for token, value in values.items():
            file = file.replace(token, value)
        found.append(file if file.startswith("/") else f"{home}/{file}")
    return found


def refuse_another_s(node: Node, seen: dict[str, Any], host_key: str) -> None:
    """Raise where the host is a node already, of ours or of another panel, or another host has its libvirt UUID."""
    refuse_mark(node, parse(seen["mark"]))
    uuid = seen["host_uuid"]
    other = Node.objects.filter(host_uuid=uuid).exclude(pk=node.pk).first() if uuid else None
    if other is not None and other.host_key == host_key:
        raise AlreadyExists(
            Text(
                "This host is in the cluster already, as “{other_node}”: it shows the same host key.",
                {"other_node": other.name},
            ),
            field="address",
            object="node",
        )
    services.refuse_known_host(uuid, node)


def refuse_mark(node: Node, mark: Mark | None) -> None:
    """Raise AlreadyExists for another node of ours, HostUnsuitable for another panel's."""
    if mark is None:
        return
    if mark.panel != panel_id():
        raise HostUnsuitable(
            Text(
                "The host is a node of another panel, {panel}: remove it there first. If that panel is no more, "
                "delete {file} on the host. Nothing was written on it.",
                {"panel": mark.described, "file": str(mark.PATH)},
            ),
            node=node.name,
            reasons=[{"code": "another_panel", "text": f"It is a node of another panel, {mark.described}."}],
        )
    other = Node.objects.filter(pk=mark.node).exclude(pk=node.pk).first()
    if other is not None:
        raise AlreadyExists(
            Text("This host is in the cluster already, as “{other_node}”.", {"other_node": other.name}),
            field="address",
            object="node",
        )


def _answers(host: str, port: int) -> bool:
    """Whether it can be reached from here: else it is not for the host to mend."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), REACH_SECONDS):
        return True
    return False
