"""Calling the classic API, and a small world in which the same calls are always answered the same."""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import cache

from django.contrib.auth.hashers import make_password
from django.db import connection
from django.test import Client
from django.utils import timezone

from panel.accounts.models import Level, User
from panel.cluster.models import Node
from panel.images.models import Image, Iso
from panel.mgrapi import sessions
from panel.monitoring.models import Step, VmUsage
from panel.monitoring.models.statistics import slot
from panel.network.models import Address, IpPool, Network
from panel.network.selectors import network_named
from panel.storage.models import Volume
from panel.vms.addresses import hold
from panel.vms.models import Disk, Interface, Vm
from tests.db.conftest import make_node
from tests.db.monitoring.messages import make_vm

ADDRESS = "192.0.2.1"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
"""What a browser says when a person follows a link."""
NUMBERED = {
    "accounts_user": 10,
    "cluster_node": 20,
    "images_image": 30,
    "images_iso": 40,
    "images_flavor": 50,
    "network_network": 60,
    "network_address": 70,
    "network_ippool": 65,
    "vms_interface": 75,
    "vms_disk": 80,
    "vms_snapshot": 90,
    "vms_vm": 237,
    "tasks_task": 500,
}
"""From which number on the rows of a world are counted: answers have them, and are compared with files."""

PASSWORD = "correct horse"
PEOPLE = {
    "admin": Level.SUPER,
    "anna": Level.USER,
    "bert": Level.USER,
    "watcher": Level.READONLY,
    "operator": Level.ADMIN,
}


@cache
def hashed() -> str:
    """The password of all of them; hashing it is dear."""
    return make_password(PASSWORD)


def call(method: str = "get", address: str = ADDRESS, headers: dict[str, str] | None = None, **params: str) -> str:
    """The document that a call is answered with."""
    client = Client(enforce_csrf_checks=True, REMOTE_ADDR=address, headers=headers or {})
    answer = getattr(client, method)("/vmmgr", params, secure=True)
    assert answer.status_code == 200, (answer.status_code, params)
    content: str = answer.content.decode()
    return content


def doc_of(text: str) -> ET.Element:
    """The document; fails on one that is an error."""
    doc = ET.fromstring(text)
    assert doc.find("error") is None, text
    return doc


def error_of(text: str) -> tuple[str | None, str | None]:
    """Type and object of the error."""
    element = ET.fromstring(text).find("error")
    assert element is not None and element.findtext("msg"), text
    return element.get("type"), element.get("object")


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of a list."""
    return [{cell.tag: cell.text or "" for cell in elem} for elem in doc_of(text).findall("elem")]


def values_of(text: str) -> dict[str, str]:
    """The values of a form, or what was made."""
    return {each.tag: each.text or "" for each in doc_of(text) if each.tag not in ("slist", "ok", "tparams")}


@dataclass
class World:
    """A customer with a VM, another without, and administrators; each has a session."""

    vm: Vm
    node: Node
    image: Image
    iso: Iso
    network: Network
    users: dict[str, User]
    sessions: dict[str, str]

    def call(self, who: str, func: str, *, headers: dict[str, str] | None = None, **params: str) -> str:
        """A call with the session of `who`, or with no proof for nobody; answered as XML unless told otherwise."""
        proof = {"auth": self.sessions[who]} if who in self.sessions else {}
        return call("post", headers=headers, **{"func": func, "out": "xml", **proof, **params})

    def steady(self, text: str) -> str:
        """An answer without what differs from run to run."""
        text = text.replace('<?xml version="1.0" encoding="UTF-8"?>\n', "")
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "2026-01-02T03:04:05+00:00", text)
        text = re.sub(r"20\d\d-\d\d-\d\d(?!T)", "2026-01-02", text)
        if (session := re.search(r'(?:<auth id="|"auth": {"\$id": ")([A-Za-z0-9_-]{32})"', text)) is not None:
            text = text.replace(session[1], "SID")
        return text


def number_anew() -> None:
    """Rows that are made from now on are counted from the same number in every test."""
    with connection.cursor() as cursor:
        for table, first in NUMBERED.items():
            cursor.execute(f"ALTER TABLE {table} AUTO_INCREMENT = {first}")


def make_world(image: Image) -> World:
    """The world."""
    node = make_node(id=20)
    users = {
        name: User.objects.create(pk=pk, name=name, password=hashed(), level=level)
        for pk, (name, level) in enumerate(PEOPLE.items(), start=10)
    }
    vm = make_vm(node, users["anna"], "shop", id=237, uuid=uuid.UUID(int=237), image=image)
    volume = Volume.objects.create(pool=vm.pool, node=node, format="qcow2", size_gib=10)
    Disk.objects.create(pk=80, vm=vm, volume=volume)
    network = network_named(vm.cluster, None)
    address = Address.objects.create(pk=70, network=network, ip="10.77.0.10")
    IpPool.objects.filter(subnet__network=network).update(id=65)
    hold(Interface.objects.create(pk=70, vm=vm, network=network, mac="52:54:00:00:00:ed"), [address])
    iso = Iso.objects.create(
        pk=40, name="rescue", title="Rescue system", file_name="r.iso", sha256="b" * 64, size_bytes=2**21
    )
    now = timezone.now()
    VmUsage.objects.create(vm=vm, step=Step.TEN_MINUTES, at=slot(now), rx_bytes=2**30, tx_bytes=3 * 2**30)
    begun = {name: sessions.begin(user, ADDRESS) for name, user in users.items()}
    return World(vm, node, image, iso, network, users, begun)
