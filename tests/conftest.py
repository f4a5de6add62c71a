"""What all tests share. A private MariaDB and Redis are started only when a chosen test needs them."""

from __future__ import annotations

import os
from pathlib import Path

import django
import pytest
from django.db import connection
from hypothesis import settings

from tests import emptying, migrated
from tests.lab.fixtures import api, cluster, lab, lab_nodes, stack
from tests.services import Services
from tests.tiers import TESTS, TIERS, Times, tier_of

# One lab and one panel beside it for all tiers that need them; the db tier has an `api` of its own.
__all__ = ["api", "cluster", "lab", "lab_nodes", "stack"]

WITHOUT_DATABASE = ("unit", "contract")

# Here and not in a hook: pytest reads other conftest files, and they Django's settings, before any hook of ours.
_services = Services()
os.environ["VMPANEL_CONF"] = str(_services.conf)
os.environ["DJANGO_SETTINGS_MODULE"] = "panel.settings"
django.setup()
emptying.install()

# How long an example takes says how busy the machine is.
settings.register_profile("vmpanel", deadline=None)
settings.load_profile("vmpanel")


def _chosen(config: pytest.Config) -> set[str]:
    chosen = set()
    for argument in config.args:
        path = Path(argument.split("::")[0]).resolve()
        inside = path.is_relative_to(TESTS) and path != TESTS
        chosen |= {tier_of(path)} if inside else set(TIERS)
    return chosen


def pytest_configure(config: pytest.Config) -> None:
    """Start the services, unless nothing that was chosen needs them; with -n each process has its own."""
    shared_out = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if shared_out:
        # What it inherits would be read by pytest-django in a process of its own before this file is.
        del os.environ["VMPANEL_CONF"], os.environ["DJANGO_SETTINGS_MODULE"]
    elif not (config.option.help or config.option.version or _chosen(config) <= set(WITHOUT_DATABASE)):
        _services.start()
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Times(config), "tier-times")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop them, however the run ended."""
    _services.stop()


def pytest_addoption(parser: pytest.Parser) -> None:
    """--regenerate: write the golden files anew instead of comparing with them."""
    parser.addoption("--regenerate", action="store_true", help="write the golden files anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tiers first; sockets are closed to unit tests."""
    items.sort(key=lambda item: TIERS.index(tier_of(item.path)))
    for item in items:
        if tier_of(item.path) == "unit":
            item.add_marker(pytest.mark.disable_socket)


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew."""
    return bool(request.config.getoption("--regenerate"))


@pytest.fixture(scope="session")
def services() -> Services:
    """The run's database and Redis."""
    return _services


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None, services: Services) -> None:
    """Have pytest-django's database before it looks: as the migrations make it, without migrating again."""
    migrated.fill(services.database, connection.creation._get_test_db_name())


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Have pytest-django take the database that is there; it goes with the run's MariaDB."""
    return True
