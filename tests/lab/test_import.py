"""A domain that somebody made with virsh becomes a VM while it runs, and is then like any other. On a real host."""

from __future__ import annotations

import httpx

from tests.lab.guests import NOTHING, remains
from tests.lab.hosts import Node
from tests.stack import done, wait_until

VIRSH = ["virsh", "-c", "qemu:///system"]
DISK = "/var/lib/vmpanel/pool/volumes/legacy.qcow2"
MAC = "52:54:00:aa:bb:01"
LEGACY = f"""<domain type='qemu'><name>legacy</name><memory unit='MiB'>96</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><clock offset='localtime'/>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='writeback'/><source file='{DISK}'/>
<target dev='vda' bus='virtio'/></disk>
<interface type='bridge'><mac address='{MAC}'/><source bridge='vmbr-nat0'/><model type='virtio'/></interface>
</devices></domain>"""


def findings(api: httpx.Client, node: Node) -> list[str]:
    """What the doctor finds on the node."""
    found = done(api, api.post("cluster/examine"))["result"]["findings"]
    return [each["code"] for each in found if each["node"] == node.name]


def test_a_running_domain_is_imported_and_lives_on(cluster: list[Node], api: httpx.Client) -> None:
    host = cluster[0]
    before = findings(api, host)
    host.run(["qemu-img", "create", "-q", "-f", "qcow2", DISK, "1G"])
    host.run(["sh", "-c", "cat > /run/legacy.xml && virsh -c qemu:///system define /run/legacy.xml"], input=LEGACY)
    host.run([*VIRSH, "start", "legacy"])
    pids = host.pids("qemu-system-x86")
    node = f"nodes/{api.get('nodes', params={'name': host.name}).json()['results'][0]['id']}"
    done(api, api.post(f"{node}/check", json={}))
    (listed,) = [each for each in api.get(f"{node}/foreign").json() if each["name"] == "legacy"]

    asked = {"domain": listed["uuid"], "owner": "admin", "addresses": {MAC: "10.77.0.240"}}
    plan = api.post(f"{node}/take-over", params={"plan": "1"}, json=asked).json()["steps"]
    assert "+cdrom sdf" in {step["name"]: step["difference"] for step in plan}["compare"]
    answer = api.post(f"{node}/take-over", json=asked)
    done(api, answer)
    path = f"vms/{answer.json()['vm']}"
    vm = api.get(path).json()
    assert (vm["name"], vm["status"], vm["clock"], vm["machine"]) == ("legacy", "running", "localtime", "pc")
    assert host.pids("qemu-system-x86") == pids
    assert findings(api, host) == before

    done(api, api.post(f"{path}/repair", json={}))
    assert api.get(f"{path}/drift").json()["differences"] == []
    done(api, api.post(f"{path}/change-interface", json={"interface": MAC, "guarded": True}))
    done(api, api.post(f"{path}/restart", json={"timeout_seconds": 0}))
    done(api, api.post(f"{path}/add-disk", json={"size_gib": 1}))
    wait_until(lambda: api.get(path).json()["status"] == "running", "it runs again")
    assert findings(api, host) == before
    done(api, api.delete(path))
    assert remains(host) == NOTHING
