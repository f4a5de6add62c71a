"""This machine as the first node, its images, its first VM."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from panel.standalone.client import Api, ApiError, manage
from panel.standalone.options import TOP, Options
from panel.standalone.private import Unfit
from panel.standalone.setup import Layout, make_key, write_secret
from panel.standalone.show import follow, say
from panel.standalone.supervisor import started

ADDRESS = "127.0.0.1"
FIRST = "first"
LOGIN_SECONDS = 120.0
LIBVIRT_SECONDS = 180.0
CHECK_AGAIN_SECONDS = 2.0
AGAIN = "Mend that, then run script/server again: it goes on where it stopped."
SIZES: dict[str, dict[str, object]] = {
    "tiny": {"flavor": "tiny"},
    "debian-12": {"memory_mib": 1024, "vcpus": 1, "disk_gib": 10},
}
RECORDS = Path("/run/vmpanel")
"""Where the agent writes down the services that it keeps on a node without systemd (nodeagent/services.py)."""
KEPT = ("vmwatch-node", "vmpanel-libvirtd", "vmpanel-virtlogd")


def make_images(layout: Layout, options: Options) -> None:
    """The images are made and registered."""
    metadata = []
    for name in options.images:
        known = (layout.images / f"{name}.qcow2").exists()
        if not known:
            say(f"Making the OS image {name} from Debian's packages")
        _make_image(name, layout.images, layout.log / f"image-{name}.log")
        metadata.append(str(layout.images / f"{name}.json"))
    manage(layout, "image_register", *metadata)
    say(f"OS images: {', '.join(options.images)}")


def _make_image(name: str, folder: Path, log: Path) -> None:
    """Run script/image; when we are stopped meanwhile, so are it and all that it started."""
    argv = [str(TOP / "script" / "image"), name, str(folder)]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        code = process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if code:
        raise Unfit(f"The OS image {name} could not be made{_reason(log)}; see {log}.")


def _reason(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    if "No space left" in text:
        return ": the disk is full"
    if any(words in text for words in ("Temporary failure resolving", "Failed to fetch", "Could not resolve")):
        return ": the Debian package registry cannot be reached"
    return ""


def ensure_node(api: Api, layout: Layout, port: int) -> dict[str, Any]:
    """This machine is a node that is ready; answers it. Raises Unfit."""
    node = find_node(api, port)
    if node is None:
        say("Adding this machine as the first node")
        body = {
            "name": _node_name(),
            "address": ADDRESS,
            "ssh_port": port,
            "key": (layout.ssh / "first_contact").read_text(encoding="ascii"),
        }
        follow(api, api.post("/nodes", body)["task"]["id"])
    else:
        for task in _open_tasks(api, "node", node["id"]):
            follow(api, task)
        with contextlib.suppress(ApiError):
            # It mends what a restart of the machine, or the end of an earlier run, took away.
            # When another task has the node, that is as good.
            follow(api, api.post(f"/nodes/{node['id']}/check", {})["task"]["id"])
    node = find_node(api, port)
    if node is None or node["state"] != "ready":
        raise Unfit(f"This machine did not become a node{_because(api, node)}. {AGAIN}")
    node = wait_for_libvirt(api, node)
    say(f"Node: {node['name']} ({node.get('accel') or 'unknown virtualization'})")
    for text in _problems(api, node):
        say(f"  ! {text}")
    return node


def wait_for_libvirt(api: Api, node: dict[str, Any]) -> dict[str, Any]:
    """The node, when its libvirt answers, so that it can take a VM; it is checked anew until then. Raises Unfit."""
    until = time.monotonic() + LIBVIRT_SECONDS
    told = False
    while (state := node["facts"].get("libvirt", "answers")) != "answers":
        why = node["facts"].get("libvirt_text") or "it gave no answer."
        if time.monotonic() > until:
            do = "Start it, or see why not in /var/log/libvirt" if state == "off" else "See /var/log/libvirt for why"
            raise Unfit(f"libvirt does not answer on this machine: {why} {do}, then run script/server again.")
        if not told:
            say(f"Waiting up to {LIBVIRT_SECONDS:.0f} s until libvirt answers: {why}")
            told = True
        with contextlib.suppress(ApiError, Unfit):
            follow(api, api.post(f"/nodes/{node['id']}/check", {})["task"]["id"])
        node = api.get(f"/nodes/{node['id']}")
        time.sleep(CHECK_AGAIN_SECONDS)
    return node


def _problems(api: Api, node: dict[str, Any]) -> list[str]:
    """What is wrong with the node, as the panel says it."""
    found = api.list("/problems")
    return [each["text"] for each in found if (each["object_type"], each["object_id"]) == ("node", node["id"])]


def _because(api: Api, node: dict[str, Any] | None) -> str:
    texts = _problems(api, node) if node is not None else []
    return f": {' '.join(texts).rstrip('.')}" if texts else ""


def find_node(api: Api, port: int) -> dict[str, Any] | None:
    """This machine among the panel's nodes."""
    return next((node for node in api.list("/nodes") if (node["address"], node["ssh_port"]) == (ADDRESS, port)), None)


def _node_name() -> str:
    wanted = "".join(sign if sign.isalnum() else "-" for sign in socket.gethostname().lower()).strip("-")
    return wanted[:60] if wanted.isascii() and wanted else "local"


def _open_tasks(api: Api, object_type: str, object_id: int) -> list[int]:
    return [
        task["id"]
        for task in api.get("/tasks?limit=50")["results"]
        if (task["object_type"], task["object_id"]) == (object_type, object_id)
        and task["status"] not in ("done", "failed", "cancelled", "stuck")
    ]


def ensure_first_vm(api: Api, layout: Layout, image: str) -> None:
    """There is a VM that one can log in to over ssh; where there are VMs already nothing is done."""
    if vms := api.list("/vms"):
        # An earlier start may have been stopped in the middle of this very deployment.
        for task in [task for vm in vms if vm["name"] == FIRST for task in _open_tasks(api, "vm", vm["id"])]:
            follow(api, task)
        return
    say(f"Deploying a first VM from {image}")
    public = make_key(layout.ssh / "first_vm", "vmpanel-first-vm")
    password = secrets.token_urlsafe(12)
    body: dict[str, Any] = {"name": FIRST, "image": image, "password": password, "ssh_keys": [public], **SIZES[image]}
    try:
        answer = api.post("/vms", body)
    except ApiError as error:
        raise Unfit(f"{error} {AGAIN} With --no-first-vm the panel runs without it.") from error
    follow(api, answer["task"]["id"])
    login = next(row["login"] for row in api.list("/images") if row["name"] == image)
    argv = ssh_argv(layout, login, answer["address"])
    until = time.monotonic() + LOGIN_SECONDS
    while True:
        done = subprocess.run([*argv, "hostname"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        if time.monotonic() > until:
            raise Unfit(f"The first VM runs, but one cannot log in to it: {done.stderr.strip()}")
        time.sleep(1)
    write_secret(layout.keys / "first_vm.password", f"{password}\n")
    say(
        f"The first VM answers as “{done.stdout.strip()}”: ssh -i {layout.ssh / 'first_vm'} {login}@{answer['address']}"
    )
    say(f"Its password is in {layout.keys / 'first_vm.password'}.")


def ssh_argv(layout: Layout, login: str, address: str) -> list[str]:
    """ssh to a guest that we have just made, whose host key nobody can know yet."""
    known = layout.ssh / "known_hosts_first_vm"
    options = ["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={known}"]
    options += ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "IdentitiesOnly=yes"]
    return ["ssh", "-i", str(layout.ssh / "first_vm"), *options, f"{login}@{address}"]


def stop_vms(api: Api, node_id: int) -> None:
    """No VM of this machine runs: each was shut down, or forced off when it did not."""
    node = api.get(f"/nodes/{node_id}")
    tasks = []
    for vm in api.list("/vms"):
        if vm.get("node") in (node["id"], node["name"]) and vm["status"] in ("running", "paused"):
            with contextlib.suppress(ApiError):
                tasks.append(api.post(f"/vms/{vm['id']}/stop", {})["task"]["id"])
    for task in tasks:
        follow(api, task, 300.0)


def stop_kept_services() -> None:
    """What the agent keeps on this machine without systemd has ended; virtlogd only where no VM runs any more.

    A running VM's QEMU needs neither libvirtd nor us, but it writes its log through virtlogd.
    """
    if Path("/run/systemd/system").is_dir():
        return
    for name in KEPT:
        if name == "vmpanel-virtlogd" and _qemu_runs():
            continue
        for kind in ("keeper", "pid"):
            _end_recorded(RECORDS / f"{name}.{kind}")


def _end_recorded(record: Path) -> None:
    try:
        pid_text, _, began = record.read_text(encoding="ascii").partition(" ")
        pid = int(pid_text)
    except (FileNotFoundError, ValueError):
        return
    until = time.monotonic() + 10
    while started(pid) == began:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM if time.monotonic() < until else signal.SIGKILL)
        time.sleep(0.1)
    record.unlink(missing_ok=True)


def _qemu_runs() -> bool:
    return any(Path("/run/libvirt/qemu").glob("*.pid"))


def administrator(layout: Layout) -> dict[str, Any]:
    """The administrator: {"name", "created", "password" when made now}."""
    told: dict[str, Any] = json.loads(manage(layout, "create_admin", "--name", "admin"))
    return told
