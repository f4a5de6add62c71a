"""What the sweep meets besides its VM: a domain that somebody made by hand, and a host that comes and goes."""

from __future__ import annotations

import uuid

import httpx

from tests.lab.hosts import Lab, Node
from tests.stack import done

VIRSH = ("virsh", "-q", "-c", "qemu:///system")
VOLUMES = "/var/lib/vmpanel/pool/volumes"
MAC, ADDRESS = "52:54:00:aa:bb:02", "10.77.0.241"
DOMAIN = """<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>96</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/>
<target dev='vda' bus='virtio'/></disk>
<interface type='bridge'><mac address='{mac}'/><source bridge='vmbr-nat0'/><model type='virtio'/></interface>
</devices></domain>"""
OURS = ("/usr/lib/vmpanel", "/etc/vmpanel", "/var/lib/vmpanel", "/run/vmpanel")


def path_of(api: httpx.Client, node: str) -> str | None:
    """The address of a node in the API; None for one that the panel does not know."""
    found = api.get("nodes", params={"name": node}).json()["results"]
    return f"nodes/{found[0]['id']}" if found else None


class Stranger:
    """A domain with a disk and an interface that the panel did not make; off, so that it can get another name."""

    def __init__(self, api: httpx.Client, node: Node, name: str) -> None:
        self.api, self.node, self.name = api, node, name
        self.uuid = str(uuid.uuid4())
        self.disk = f"{VOLUMES}/{name}.qcow2"
        xml = DOMAIN.format(name=name, uuid=self.uuid, disk=self.disk, mac=MAC)
        node.run(["qemu-img", "create", "-q", "-f", "qcow2", self.disk, "1G"])
        node.run(["sh", "-c", "cat > /run/stranger.xml"], input=xml)
        node.run([*VIRSH, "define", "/run/stranger.xml"])
        done(api, api.post(f"{path_of(api, node.name)}/check", json={}))

    def body(self, name: str) -> dict[str, object]:
        """The request that takes it over under another name."""
        return {"domain": self.uuid, "owner": "admin", "name": name, "addresses": {MAC: ADDRESS}}

    def refused(self) -> None:
        """It was not taken over: it is as it was, and then it is gone."""
        assert self.node.run([*VIRSH, "domname", self.uuid]).stdout.strip() == self.name
        self.node.run([*VIRSH, "undefine", self.uuid])
        self.node.run(["rm", self.disk])


class SpareHost:
    """A host of the lab that is a node for one case."""

    def __init__(self, lab: Lab, api: httpx.Client) -> None:
        self.api, self.node = api, lab.add_node()
        self.keys = self._keys()

    def _keys(self) -> str:
        return self.node.run(["cat", "/root/.ssh/authorized_keys"]).stdout

    def join(self) -> None:
        """It is a node."""
        raw = {"name": self.node.name, "address": self.node.address, "password": self.node.root_password}
        done(self.api, self.api.post("nodes", json={**raw, "virtualization": "qemu"}), 300)

    def join_again(self) -> None:
        """It is a node, also where it has been one that was forgotten."""
        if path_of(self.api, self.node.name) is None:
            self.join()

    def leave(self) -> None:
        """It is none: what a removal that ended badly left is removed when it is asked for again."""
        path = path_of(self.api, self.node.name)
        if path is not None:
            done(self.api, self.api.delete(path))
        assert self._keys() == self.keys
        for folder in OURS:
            assert self.node.run(["ls", folder], check=False).returncode != 0, self.node.run(["find", folder]).stdout
        assert "vmbr" not in self.node.run(["ip", "link"]).stdout
        assert "vmpanel" not in self.node.run(["nft", "list", "tables"]).stdout
