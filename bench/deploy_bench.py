"""Deployment: API call to running domain, against qemu-img and virsh by hand on the same node in the same run."""

from __future__ import annotations

import statistics
import sys
import time
from datetime import datetime

import httpx

from bench.floor import panel_with_node
from tests.lab.hosts import Node
from tests.stack import done, task_of, wait_until

AIM_RATIO, AIM_SECONDS = 1.3, 0.5
POOL = "/var/lib/vmpanel/pool"
URI = ["virsh", "-q", "-c", "qemu:///system"]


def by_hand(node: Node, image: str, xml: str, size_gib: int) -> float:
    """Seconds that a skilled person's commands take: convert, resize, seed, define, start. Cleans up."""
    folder = "/tmp/byhand"
    node.run(["sh", "-c", f"mkdir -p {folder}/seed && cd {folder}/seed && echo a > meta-data && echo b > user-data"])
    mine = xml.replace(POOL, folder)
    began = time.monotonic()
    node.run(["qemu-img", "convert", "-O", "qcow2", image, f"{folder}/disk.qcow2"])
    node.run(["qemu-img", "resize", "-q", f"{folder}/disk.qcow2", f"{size_gib}G"])
    node.run(["genisoimage", "-quiet", "-o", f"{folder}/seed.iso", "-V", "cidata", "-J", "-r", f"{folder}/seed"])
    node.run(["sh", "-c", f"cat > {folder}/domain.xml"], input=mine)
    node.run([*URI, "define", f"{folder}/domain.xml"])
    node.run([*URI, "start", "byhand"])
    took = time.monotonic() - began
    node.run([*URI, "destroy", "byhand"])
    node.run([*URI, "undefine", "byhand"])
    node.run(["rm", "-rf", folder])
    return took


def hand_xml(node: Node, name: str) -> str:
    """The panel's own domain as a person would write it, with disks where by_hand() puts them."""
    import re

    xml = node.run([*URI, "dumpxml", "--inactive", name]).stdout
    xml = re.sub(r"<uuid>.*?</uuid>", "", xml).replace(f"<name>{name}</name>", "<name>byhand</name>")
    xml = re.sub(rf"{POOL}/volumes/[^']*", "/tmp/byhand/disk.qcow2", xml)
    return re.sub(rf"{POOL}/seeds/[^']*", "/tmp/byhand/seed.iso", xml)


def by_panel(api: httpx.Client, name: str, image: str, flavor: str) -> tuple[float, dict[str, float], int]:
    """Seconds from the API call until the domain runs, the same by step, and the VM's id."""
    began = time.monotonic()
    answer = api.post("vms", json={"name": name, "image": image, "flavor": flavor})
    accepted = time.monotonic() - began
    task_id = task_of(answer)

    def started() -> dict[str, object] | None:
        task = api.get(f"tasks/{task_id}").json()
        assert task["status"] != "failed", task["error"]
        step = next(step for step in task["steps"] if step["name"] == "start_domain")
        return task if step["status"] == "done" else None

    task = wait_until(started, "the domain runs", 120)
    steps = {step["name"]: seconds(step) for step in task["steps"] if step["finished_at"]}
    # By the panel's own clock, so that our asking does not count.
    start = next(step for step in task["steps"] if step["name"] == "start_domain")
    queued = moment(task["steps"][1]["started_at"]) - moment(task["created_at"])
    total = accepted + moment(start["finished_at"]) - moment(task["created_at"])
    return total, {"accept": accepted, "queue": queued, **steps}, int(answer.json()["vm"])


def moment(text: str) -> float:
    """An API time in seconds."""
    return datetime.fromisoformat(text).timestamp()


def seconds(step: dict[str, str]) -> float:
    """How long a step took."""
    return moment(step["finished_at"]) - moment(step["started_at"])


def main() -> int:
    """Print both, their ratio, and the panel's steps."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    image = sys.argv[2] if len(sys.argv) > 2 else "tiny"
    flavor, size = ("tiny", 1) if image == "tiny" else ("small", 10)
    with panel_with_node("bench") as (_stack, api, node):
        # The image is on the node for both, as it is for every VM but the first.
        _took, _steps, vm = by_panel(api, "warm", image, flavor)
        sha256 = api.get("images", params={"name": image}).json()["results"][0]["sha256"]
        xml, source = hand_xml(node, "warm"), f"{POOL}/images/{sha256}.img"
        remove(api, vm)
        panel, hand, parts = [], [], []
        for number in range(runs):
            hand.append(by_hand(node, source, xml, size))
            took, steps, vm = by_panel(api, f"run{number}", image, flavor)
            panel.append(took)
            parts.append(steps)
            remove(api, vm)
    floor, ours = statistics.median(hand), statistics.median(panel)
    print(f"{runs} runs of {image} on one node, medians in seconds")
    print(f"  by hand  {floor:7.3f}   (from {min(hand):.3f} to {max(hand):.3f})")
    print(f"  panel    {ours:7.3f}   (from {min(panel):.3f} to {max(panel):.3f})")
    for name in parts[0]:
        print(f"    {name:16} {statistics.median(each[name] for each in parts):7.3f}")
    limit = AIM_RATIO * floor + AIM_SECONDS
    verdict = "met" if ours <= limit else "MISSED"
    print(f"  ratio {ours / floor:.2f}; aim {AIM_RATIO} x + {AIM_SECONDS} s = {limit:.3f} s: {verdict}")
    return 0


def remove(api: httpx.Client, vm: int) -> None:
    """Delete the VM, once its deployment lets go of it."""
    open_task = api.get(f"vms/{vm}").json()["task"]
    if open_task is not None:
        api.post(f"tasks/{open_task}/cancel")
        wait_until(
            lambda: api.get(f"tasks/{open_task}").json()["status"] in ("cancelled", "done"), "it is cancelled", 60
        )
    if api.get(f"vms/{vm}").status_code == 200:
        done(api, api.delete(f"vms/{vm}"))


if __name__ == "__main__":
    sys.exit(main())
