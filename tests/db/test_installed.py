"""The panel where nothing is installed but what it asks for: the tests' own packages would hide one that is missing."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from panel.standalone.options import TOP

STARTED = """
import asyncio, importlib, pkgutil, sys
import django
django.setup()
import httpx, panel, vmwatch
from django.core.management import call_command
from panel.asgi import application

# What runs on nodes alone has libvirt's bindings from the distribution.
left_out = ("vmwatch.jobs", "vmwatch.libvirt_events", "vmwatch.node", "vmwatch.readings", "vmwatch.stats")
for package in (panel, vmwatch):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name not in left_out:
            importlib.import_module(found.name)
call_command("check")

async def get():
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
        return await client.get("/login")

answer = asyncio.run(get())
assert answer.status_code == 200 and "<form" in answer.text, answer.text
assert not {"pytest", "playwright", "schemathesis", "mypy", "libvirt"} & set(sys.modules)
"""
"""All modules of the panel, so the command line, the worker and script/server too."""


def asked_for() -> dict[str, metadata.Distribution]:
    """What install_requires brings along, by name: each with what it requires itself."""
    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg")
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    open_ones = [(Requirement(line), "") for line in config["options"]["install_requires"].split("\n") if line.strip()]
    while open_ones:
        requirement, extra = open_ones.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found[name] = metadata.distribution(name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                open_ones += [(Requirement(each), wanted) for each in found[name].requires or ()]
    return found


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with those packages alone."""
    folder = tmp_path_factory.mktemp("packages")
    for distribution in asked_for().values():
        tops = {path.parts[0] for path in distribution.files or () if path.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))))
    return folder


def test_the_tests_own_packages_are_not_among_them() -> None:
    assert {"django", "celery", "kombu", "asgiref"} <= set(asked_for())
    assert not {"pytest", "playwright", "mypy", "hypothesis", "libvirt-python"} & set(asked_for())


def test_the_panel_starts_and_serves_with_what_it_asks_for_alone(packages: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{TOP}"}
    # -S: without the packages that this very Python has.
    argv = [sys.executable, "-S", "-c", STARTED]
    done = subprocess.run(argv, cwd=TOP, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
