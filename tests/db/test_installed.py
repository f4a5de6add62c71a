"""The wheel where only what it asks for is installed too: a checkout, or the tests' packages, would hide a lack."""

from __future__ import annotations

import configparser
import os
import re
import shutil
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
from panel.web.assets import address

# What runs on nodes alone has libvirt's bindings from the distribution.
left_out = ("vmwatch.jobs", "vmwatch.libvirt_events", "vmwatch.node", "vmwatch.readings", "vmwatch.stats")
for package in (panel, vmwatch):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name not in left_out:
            importlib.import_module(found.name)
call_command("check")

async def get(path, wanted):
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
        answer = await client.get(path)
    text = answer.text
    assert answer.status_code == 200 and wanted in text, (path, answer.status_code, answer.text[:300])

for path, wanted in (
    ("/login", "<form"),
    ("/api/v1/schema", "openapi:"),
    (address("web/app.js"), "import"),
    (address("vendor/novnc/core/rfb.js"), "class RFB"),
    (address("vendor/xterm/xterm.js"), "Terminal"),
    (address("vendor/novnc/LICENSE.txt"), "MPL 2.0"),
):
    asyncio.run(get(path, wanted))
assert panel.__file__.startswith(sys.prefix), panel.__file__
assert not {"pytest", "playwright", "schemathesis", "mypy", "libvirt"} & set(sys.modules)
"""
"""All modules of the panel, so the command line, the worker and script/server too."""


MADE_FROM = ("panel", "nodeagent", "vmwatch", "templates", "images", "etc")
"""The folders that the wheel is made from; beside them single files, and much that it has nothing of."""


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


def test_packages_have_exact_versions_of_all_that_is_asked_for() -> None:
    lock = (TOP / "packaging" / "python" / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock, flags=re.MULTILINE))
    assert not set(asked_for()) - set(locked), "run script/lock"
    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg")
    for line in filter(None, config["options"]["install_requires"].split("\n")):
        asked = Requirement(line)
        assert locked[canonicalize_name(asked.name)] in asked.specifier, "run script/lock"
    assert lock.count("==") <= lock.count("--hash=sha256:")


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it, and nothing else."""
    work = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "venv", "--without-pip", str(work / "prefix"))
    for folder in MADE_FROM:
        shutil.copytree(TOP / folder, work / "source" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (path for path in TOP.iterdir() if path.is_file()):
        shutil.copy(file, work / "source")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    offline = ("--no-deps", "--no-index")
    run(*pip, "wheel", "--no-build-isolation", *offline, "--wheel-dir", str(work), str(work / "source"))
    (wheel,) = work.glob("*.whl")
    run(*pip, "--python", str(work / "prefix" / "bin" / "python"), "install", *offline, str(wheel))
    return work / "prefix"


def run(*argv: str, **environment: str) -> str:
    """What the program prints; it may be nowhere near the checkout."""
    done = subprocess.run(
        argv, cwd="/", env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_an_installed_panel_starts_and_serves_with_what_it_asks_for_alone(prefix: Path, packages: Path) -> None:
    run(str(prefix / "bin" / "python"), "-c", STARTED, PYTHONPATH=str(packages))


def test_the_command_lines_of_an_installed_panel_run(prefix: Path, packages: Path) -> None:
    for program, *words in (
        ("vmpanel-manage", "check"),
        ("vmpanel", "--help"),
        ("mgrctl", "--help"),
        ("vmwatch-master", "--help"),
        ("nodeagent", "--help"),
    ):
        assert run(str(prefix / "bin" / program), *words, PYTHONPATH=str(packages)), program


def test_an_installed_panel_brings_what_os_images_are_made_from(prefix: Path) -> None:
    shared = prefix / "share" / "vmpanel"
    for folder in ("images", "etc", "templates"):
        names = {str(path.relative_to(TOP)) for path in (TOP / folder).rglob("*") if path.is_file()}
        assert names == {str(path.relative_to(shared)) for path in (shared / folder).rglob("*") if path.is_file()}
    assert os.access(shared / "images" / "make", os.X_OK)
    assert os.access(shared / "images" / "tiny" / "build", os.X_OK)
