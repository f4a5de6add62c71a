"""Fixtures of the classic API's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings

from panel.cluster import fake
from panel.images.models import Image
from tests.db.mgrapi.classic import World, make_world


@pytest.fixture(autouse=True)
def database(db: None) -> Iterator[None]:
    """Every test has a transaction that is rolled back: nothing here needs more, and it is much quicker."""
    fake.reset()
    yield
    fake.reset()


@pytest.fixture(autouse=True)
def nothing_counted(database: None) -> None:
    """No wrong password of an earlier test counts."""
    redis.Redis.from_url(settings.CONFIG.redis_url).flushall()


@pytest.fixture
def world(image: Image) -> World:
    """A customer's VM and who else there is."""
    return make_world(image)
