"""Who may call which function of the classic API: each function by everybody, so that no right is forgotten."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from panel.accounts.models import Token
from panel.accounts.tokens import create_token
from panel.mgrapi.functions import FUNCTIONS, SIGNING_IN
from tests.db.mgrapi.classic import World

OK, DENIED, ABSENT, NO_USER, NO_PLID = "ok", "access", "missed/vm", "missed/user", "missed/plid"
NO_PROOF = "missed/old_passwd"
WHO = ("bert", "anna", "watcher", "admin", "narrow")
"""Another customer, the owner of VM 237, a read-only administrator, an administrator, an administrator's token
that has none of the rights."""
VM, SOK = {"elid": "237"}, {"sok": "ok"}
SIZE = {"mem": "256", "vcpu": "1", "vsize": "1024"}
OWN_PASSWORD = {"passwd": "a secret word", "old_passwd": "correct horse"}
NEW_VM = {**SOK, "name": "blog", "vmi": "small", "preset": "small", "password": "a secret word"}
EVERYBODY = (OK,) * 5
VIEWERS = (OK, OK, OK, OK, DENIED)
VIEWERS_OF_A_VM = (ABSENT, OK, OK, OK, DENIED)
OWNER = (ABSENT, OK, DENIED, OK, DENIED)
OVER_VMS = (ABSENT, DENIED, DENIED, OK, DENIED)
ADMINISTRATOR = (DENIED, DENIED, DENIED, OK, DENIED)
CLUSTER = (DENIED, DENIED, OK, OK, DENIED)
NO_SNAPSHOT = ("missed/snapshot", "missed/snapshot", DENIED, "missed/snapshot", DENIED)
OVER_BERT = (DENIED, NO_USER, DENIED, OK, NO_USER)

MATRIX: tuple[tuple[str, dict[str, str], tuple[str, ...]], ...] = (
    ("", {}, EVERYBODY),
    ("auth", {}, ("auth/badpassword",) * 5),
    ("exit", {}, EVERYBODY),
    ("vm", {}, VIEWERS),
    ("vmmini", {}, VIEWERS),
    ("vm.sysinfo", VM, VIEWERS_OF_A_VM),
    ("vm.edit", {}, (OK, OK, DENIED, OK, DENIED)),
    ("vm.edit", NEW_VM, (OK, OK, DENIED, OK, DENIED)),
    ("vm.edit", {**NEW_VM, "user": "anna"}, (DENIED, OK, DENIED, OK, DENIED)),
    ("vm.edit", {**NEW_VM, "cputune": "300"}, ADMINISTRATOR),
    ("vm.edit", {**NEW_VM, "inbound": "300"}, ADMINISTRATOR),
    ("vm.edit", VM, VIEWERS_OF_A_VM),
    ("vm.edit", {**VM, **SOK, "mem": "256"}, OVER_VMS),
    ("vm.edit", {**VM, **SOK, "outbound": "256"}, OVER_VMS),
    ("vm.edit", {**VM, **SOK, "user": "bert"}, OVER_VMS),
    ("vm.edit", {**VM, **SOK, "blocked": "on"}, OVER_VMS),
    ("vm.start", VM, OWNER),
    ("vm.stop", VM, OWNER),
    ("vm.restart", VM, OWNER),
    ("vm.delete", VM, OWNER),
    ("vm.chpasswd", VM, VIEWERS_OF_A_VM),
    ("vm.chpasswd", {**VM, **SOK, "passwd": "a secret word"}, OWNER),
    ("vm.reinstall", VM, VIEWERS_OF_A_VM),
    ("vm.reinstall", {**VM, **SOK, "vmi": "small", "password": "a secret word"}, OWNER),
    ("vm.migrate", VM, OVER_VMS),
    ("vm.migrate", {**VM, **SOK, "hostnode": "auto"}, (ABSENT, DENIED, DENIED, "limit/hostnode", DENIED)),
    ("vm.novnc", VM, OWNER),
    ("novnc", VM, OWNER),
    ("iplist", {"plid": "237"}, VIEWERS_OF_A_VM),
    ("iplist", {}, VIEWERS),
    ("iplist.edit", {"plid": "237", **SOK}, OWNER),
    ("iplist.edit", {"elid": "70"}, ("missed/ip", OK, OK, OK, DENIED)),
    ("iplist.delete", {"elid": "70"}, ("missed/ip", OK, DENIED, OK, DENIED)),
    ("ippool", {}, (DENIED, DENIED, OK, OK, DENIED)),
    ("ippool.edit", {"elid": "65"}, (DENIED, DENIED, DENIED, OK, DENIED)),
    ("ippool.edit", {"elid": "65", **SOK, "user": "anna"}, (DENIED, DENIED, DENIED, OK, DENIED)),
    ("ippool.delete", {"elid": "99"}, (DENIED, DENIED, DENIED, "missed/ippool", DENIED)),
    ("vm.clone", VM, (ABSENT, OK, DENIED, OK, DENIED)),
    ("vm.clone", {**VM, **SOK, "name": "a_b"}, (ABSENT, "value/name", DENIED, "value/name", DENIED)),
    ("snapshot", {"plid": "237"}, VIEWERS_OF_A_VM),
    ("snapshot", {}, VIEWERS),
    ("snapshot.edit", {"plid": "237", **SOK, "name": "one"}, OWNER),
    ("snapshot.revert", {"elid": "9"}, NO_SNAPSHOT),
    ("snapshot.delete", {"elid": "9"}, NO_SNAPSHOT),
    ("volume", {"elid": "237"}, VIEWERS_OF_A_VM),
    ("volume.edit", {"elid": "80"}, ("missed/volume", OK, OK, OK, DENIED)),
    ("volume.edit", {"plid": "237", **SOK, "size": "1024"}, OWNER),
    ("volume.edit", {"elid": "80", **SOK, "size": "20480"}, ("missed/volume", OK, DENIED, OK, DENIED)),
    ("volume.delete", {"elid": "80"}, ("missed/volume", "value/disk", DENIED, "value/disk", DENIED)),
    ("reportvm", {"server": "237"}, VIEWERS_OF_A_VM),
    ("reportvm", {"server": "shop"}, VIEWERS_OF_A_VM),
    ("vmhostnode", {}, CLUSTER),
    ("vmhostnode.info", {"elid": "20"}, CLUSTER),
    ("vmhostnode.edit", {"elid": "20"}, ADMINISTRATOR),
    ("vmhostnode.edit", {"elid": "20", **SOK, "maxvmcount": "3"}, ADMINISTRATOR),
    ("vmhostnode.edit", {**SOK, "name": "node2", "ip": "192.0.2.9", "passwd": "a secret word"}, ADMINISTRATOR),
    ("vmhostnode.delete", {"elid": "20"}, (DENIED, DENIED, DENIED, "state/hostnode", DENIED)),
    ("iso.delete", {"elid": "rescue"}, ADMINISTRATOR),
    ("preset.delete", {"elid": "small"}, ADMINISTRATOR),
    ("osmgr", {}, EVERYBODY),
    ("osmgr.edit", {"elid": "small"}, ADMINISTRATOR),
    ("recipemgr", {}, EVERYBODY),
    ("iso", {}, EVERYBODY),
    ("preset", {}, EVERYBODY),
    ("preset.edit", {"elid": "small"}, EVERYBODY),
    ("preset.edit", {"elid": "small", **SOK, "mem": "512"}, ADMINISTRATOR),
    ("preset.edit", {**SOK, "name": "huge", **SIZE}, ADMINISTRATOR),
    ("task", {}, VIEWERS),
    ("vmwatch.configure", {}, ADMINISTRATOR),
    ("user", {}, CLUSTER),
    ("user.edit", {}, ADMINISTRATOR),
    ("user.edit", {**SOK, "name": "carl", "level": "16", "passwd": "a secret word"}, ADMINISTRATOR),
    ("user.edit", {"elid": "anna"}, (NO_USER, OK, OK, OK, NO_USER)),
    ("user.edit", {"elid": "anna", **SOK, "passwd": "a secret word"}, (NO_USER, NO_PROOF, DENIED, OK, NO_USER)),
    ("user.edit", {"elid": "anna", **SOK, **OWN_PASSWORD}, (NO_USER, OK, DENIED, OK, NO_USER)),
    ("user.edit", {"elid": "anna", **SOK, "isolimitnum": "3"}, (NO_USER, DENIED, DENIED, OK, NO_USER)),
    ("user.edit", {"elid": "anna", **SOK, "level": "30"}, (NO_USER, DENIED, DENIED, OK, NO_USER)),
    ("user.delete", {"elid": "bert"}, OVER_BERT),
    ("user.disable", {"elid": "bert"}, OVER_BERT),
    ("user.enable", {"elid": "bert"}, OVER_BERT),
    ("userrights", {"plid": "anna"}, (NO_PLID, OK, OK, OK, NO_PLID)),
    ("userrights.suspend", {"plid": "anna", "elid": "vm.edit"}, ADMINISTRATOR),
    ("userrights.resume", {"plid": "anna", "elid": "vm.edit"}, ADMINISTRATOR),
    ("session.newkey", {"username": "anna", "key": "0123456789abcdef"}, ADMINISTRATOR),
)


def outcome(text: str, func: str) -> str:
    """ "ok", or what was refused; "access" alone where it is the function that is."""
    error = ET.fromstring(text).find("error")
    if error is None:
        return OK
    kind, about = error.get("type"), error.get("object")
    return DENIED if (kind, about) == ("access", func or "func") else f"{kind}/{about}"


def token(world: World, **fields: object) -> dict[str, str]:
    """The headers of a call with a token of the administrator."""
    _, text = create_token(world.users["admin"], "billing", **fields)  # type: ignore[arg-type]
    return {"Authorization": f"Bearer {text}"}


def asked(world: World, who: str, headers: dict[str, str] | None = None) -> list[str]:
    """What comes of each row of the matrix; nothing of it stays."""
    found = []
    for func, params, _ in MATRIX:
        with transaction.atomic():
            found.append(f"{func} {params}: {outcome(world.call(who, func, headers=headers, **params), func)}")
            transaction.set_rollback(True)
    return found


def expected(outcomes: list[str]) -> list[str]:
    """The rows with these outcomes."""
    return [f"{func} {params}: {each}" for (func, params, _), each in zip(MATRIX, outcomes, strict=True)]


def test_every_function_is_in_the_matrix() -> None:
    assert {func for func, _, _ in MATRIX} == {*FUNCTIONS, *SIGNING_IN}


@pytest.mark.parametrize("who", WHO[:4])
def test_everybody_may_do_what_their_level_may(world: World, who: str) -> None:
    assert asked(world, who) == expected([outcomes[WHO.index(who)] for _, _, outcomes in MATRIX])


def test_a_token_gives_no_right_that_it_lacks(world: World) -> None:
    headers = token(world, rights=["tasks.cancel"])
    assert asked(world, "nobody", headers) == expected([outcomes[WHO.index("narrow")] for _, _, outcomes in MATRIX])


def test_a_token_that_has_expired_is_worth_nothing_and_neither_is_none(world: World) -> None:
    headers = token(world, expires_at=timezone.now() + timedelta(minutes=1))
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    nothing = [OK if func == "exit" else "auth/badpassword" for func, _, _ in MATRIX]
    assert asked(world, "nobody", headers) == asked(world, "nobody") == expected(nothing)
