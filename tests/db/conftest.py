"""Fixtures of the db tier: real MariaDB and Redis, nodes in memory."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher, get_hashers, get_hashers_by_algorithm, make_password
from rest_framework.test import APIClient

from panel.accounts.models import Level, User
from panel.cluster import fake
from panel.cluster.models import Cluster, Node, NodeState
from panel.cluster.selectors import default_cluster
from panel.images.models import Image
from panel.images.services import ensure_flavors
from panel.network.models import Network
from panel.network.services import ensure_default_network
from panel.network.subnets import add_subnet
from panel.storage.models import NodePool
from panel.storage.services import ensure_default_pool
from panel.tasks import engine
from panel.tasks.models import ENDED, Status, Task

GIB = 1024**3


class QuickHasher(Argon2PasswordHasher):
    """The panel's hashing at its least cost; a panel that a test starts as a process has its own."""

    time_cost, memory_cost, parallelism = 1, 8, 1


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> None:
    """Wrong passwords are tried by the dozen, and nothing here depends on how long that takes."""
    settings.PASSWORD_HASHERS = [f"{__name__}.QuickHasher"]
    get_hashers.cache_clear()
    get_hashers_by_algorithm.cache_clear()


@pytest.fixture(autouse=True)
def database(transactional_db: None) -> Iterator[None]:
    """Every test has the database to itself, and fakes that remember nothing."""
    fake.reset()
    yield
    fake.reset()


@functools.cache
def hashed(password: str) -> str:
    """The password as it is stored. Made once: hashing is slow on purpose, and most tests sign nobody in."""
    return make_password(password)


@pytest.fixture
def admin() -> User:
    """An administrator."""
    return User.objects.create(name="admin", password=hashed("correct horse"), level=Level.SUPER)


@pytest.fixture
def user() -> User:
    """A customer."""
    return User.objects.create(name="anna", password=hashed("correct horse"))


def make_node(name: str = "fake1", **fields: Any) -> Node:
    """A node in memory, ready to take VMs."""
    cluster = default_cluster()
    pool = ensure_default_pool(cluster)
    node = Node.objects.create(
        cluster=cluster,
        name=name,
        address=f"{name}.invalid",
        state=NodeState.READY,
        accel="qemu",
        is_fake=True,
        facts={"memory_mib": 65536, "cpu_count": 16},
        **fields,
    )
    NodePool.objects.create(node=node, pool=pool, capacity_bytes=500 * GIB, free_bytes=400 * GIB)
    memory = fake.node(node.pk)
    memory.pools.add(pool.name)
    network = ensure_default_network(cluster)
    from panel.network.node_part import lasting_part

    memory.bridges[network.bridge] = replace(lasting_part(network, node), kept_from=[])
    memory.restore_network()
    return node


def make_network(
    cluster: Cluster, name: str, bridge: str, cidr: str, ranges: Iterable[tuple[str, str]] = (), **fields: Any
) -> Network:
    """A network with one subnet, whose first address is the gateway's."""
    network = Network.objects.create(cluster=cluster, name=name, bridge=bridge, **fields)
    add_subnet(network, cidr, str(ipaddress.ip_network(cidr)[1]), ranges=ranges)
    return network


@pytest.fixture
def node() -> Node:
    """A node in memory."""
    return make_node()


@pytest.fixture
def image() -> Image:
    """A small image whose file is there."""
    content = b"an operating system" * 1000
    folder = Path(settings.CONFIG.images_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small.qcow2").write_bytes(content)
    ensure_flavors()
    return Image.objects.create(
        name="small",
        title="Small OS",
        os_family="test",
        file_name="small.qcow2",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        virtual_bytes=GIB // 2,
        login="root",
        min_memory_mib=96,
        min_disk_gib=1,
    )


def run_task(task: Task, observer: engine.Observer | None = None) -> Task:
    """Carry a task to its end in this process, its retries at once; answers it as it ended."""
    for _ in range(100):
        Task.objects.filter(pk=task.pk, status=Status.RETRYING).update(next_run_at="2000-01-01T00:00:00Z")
        engine.run(task.pk, "test", observer)
        task = Task.objects.get(pk=task.pk)
        if task.status in ENDED:
            return task
    raise AssertionError(f"{task} does not end: {task.status}")


@pytest.fixture
def run_tasks() -> Callable[[], None]:
    """Carry out every task that is ready, in their order."""

    def run() -> None:
        for pk in list(Task.objects.exclude(status__in=ENDED).order_by("pk").values_list("pk", flat=True)):
            run_task(Task.objects.get(pk=pk))

    return run


@pytest.fixture
def api(admin: User) -> APIClient:
    """The REST API as the administrator."""
    client = APIClient()
    client.force_authenticate(admin)
    return client


@pytest.fixture
def api_as_user(user: User) -> APIClient:
    """The REST API as the customer."""
    client = APIClient()
    client.force_authenticate(user)
    return client
