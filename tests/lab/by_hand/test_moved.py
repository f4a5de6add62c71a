"""A VM that somebody moves by hand: its newest data are where it ran last, and it is told to live there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.stack import done, wait_until

VIRSH = ("virsh", "-q", "-c", "qemu:///system")
SAID_SECONDS = 20.0


@pytest.fixture(scope="module")
def moved(cluster: list[Node], api: httpx.Client) -> Iterator[str]:
    """The path of a VM that ran on the first node, was moved to the second by hand, and is off there."""
    home, other = cluster[:2]
    answer = api.post("vms", json={"name": "moved", "image": "tiny", "flavor": "tiny", "node": home.name})
    done(api, answer)
    path = f"vms/{answer.json()['vm']}"
    files = home.run(["sh", "-c", "cd /var/lib/vmpanel/pool; ls volumes/* seeds/*"]).stdout.split()
    # What `virsh migrate --copy-storage-all --undefinesource` comes to, without a way between the hosts.
    description = home.run([*VIRSH, "dumpxml", "moved", "--migratable", "--security-info"]).stdout
    home.run([*VIRSH, "suspend", "moved"])
    for file in files:
        content = home.run(["sh", "-c", f"base64 -w0 /var/lib/vmpanel/pool/{file}"]).stdout
        other.run(["sh", "-c", f"base64 -d > /var/lib/vmpanel/pool/{file}"], input=content)
    home.run([*VIRSH, "destroy", "moved"])
    home.run([*VIRSH, "undefine", "moved"])
    other.run(["sh", "-c", "cat > /run/moved.xml && virsh -c qemu:///system define /run/moved.xml"], input=description)
    other.run([*VIRSH, "start", "moved", "--paused"])
    yield path
    done(api, api.delete(path))
    for node in (home, other):
        assert remains(node) == NOTHING


def refusals(api: httpx.Client, path: str) -> set[tuple[int, str]]:
    """What is answered to whatever would start, make or delete the older disks."""
    answers = [api.post(f"{path}/{verb}", json={}) for verb in ("start", "repair")]
    return {(each.status_code, each.json()["code"]) for each in [*answers, api.delete(path)]}


def problem(api: httpx.Client, path: str) -> str:
    """What is said of where the VM is."""
    found: list[dict[str, Any]] = api.get("problems").json()["results"]
    vm_id = int(path.rsplit("/", 1)[1])
    texts = [each["text"] for each in found if each["object_type"] == "vm" and each["object_id"] == vm_id]
    return " ".join(texts)


def test_it_is_told_to_live_where_it_ran_last(cluster: list[Node], api: httpx.Client, moved: str) -> None:
    home, other = cluster[:2]
    wait_until(lambda: f"active on “{other.name}”" in problem(api, moved), "it is seen there", SAID_SECONDS)
    other.run([*VIRSH, "destroy", "moved"])
    wait_until(lambda: f"ran last on “{other.name}”" in problem(api, moved), "where it ran last is said", SAID_SECONDS)
    assert refusals(api, moved) == {(409, "wrong_state")}
    findings = done(api, api.post("cluster/examine", json={}))["result"]["findings"]
    told = {each["code"]: each["mend"] for each in findings}
    assert (told["moved"], told["domain_missing"]) == ("vm.settle", "vm.settle")
    # Neither the disk that is the VM's now nor the one that was is called a leftover.
    assert "file_foreign" not in told

    done(api, api.post(f"{moved}/settle", json={"node": other.name, "delete_others": True}))
    shown = api.get(moved).json()
    assert (shown["node"], shown["status"], shown["drifted"]) == (other.name, "shut off", False)
    assert problem(api, moved) == ""
    assert remains(home) == NOTHING
    done(api, api.post(f"{moved}/start", json={}))
    assert api.get(moved).json()["status"] == "running"
