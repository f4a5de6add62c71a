"""script/lab: hosts of the lab from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys

from tests.lab.hosts import Lab, LabError, Node, clean_dead, labs


def up(count: int, *, start_libvirt: bool) -> None:
    """Make a lab that stays, and tell how to reach its nodes."""
    lab = Lab.create(count, start_libvirt=start_libvirt, keep=True)
    print(f"Lab {lab.id} is up; the panel's address is {lab.panel_address}.")
    for node in lab.nodes:
        print(f"{node.name}  root@{node.address}:{node.ssh_port}  password {node.root_password}")
    print(f"Key of root on all nodes: {lab.folder / 'id_ed25519'}")


def find(name: str) -> Node:
    """The node called NAME or LAB/NAME; raises LabError."""
    found = [node for lab in labs() for node in lab.nodes if name in (node.name, f"{lab.id}/{node.name}")]
    if not found:
        raise LabError(f"There is no node “{name}”; see script/lab list.")
    if len(found) > 1:
        raise LabError(f"Several labs have a node “{name}”; name it LAB/{name}.")
    return found[0]


def show(*, as_json: bool) -> None:
    """List all labs and nodes."""
    rows = [
        {"lab": lab.id, "node": node.name, "address": node.address, "running": node.running}
        for lab in labs()
        for node in lab.nodes
    ]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['lab']}/{row['node']}  {row['address']}  {'running' if row['running'] else 'off'}")


def down(lab_id: str | None) -> None:
    """Remove the labs that script/lab made, or the one named, and what dead runs left."""
    clean_dead()
    for lab in labs():
        if lab.owner is None if lab_id is None else lab.id == lab_id:
            lab.close()
            print(f"Lab {lab.id} is removed.")


def main() -> int:
    """Do what the command line says; 1 and one sentence when it cannot be."""
    parser = argparse.ArgumentParser(prog="script/lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("up", help="start N nodes")
    verb.add_argument("count", type=int, nargs="?", default=1)
    verb.add_argument("--libvirt", action="store_true", help="start libvirtd on them too")
    verb = verbs.add_parser("down", help="remove the labs that “up” made")
    verb.add_argument("lab", nargs="?")
    verb = verbs.add_parser("shell", help="a shell (or a command) inside a node")
    verb.add_argument("node")
    verb.add_argument("command", nargs=argparse.REMAINDER)
    verb = verbs.add_parser("list", help="what there is")
    verb.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    try:
        if asked.verb == "up":
            up(asked.count, start_libvirt=asked.libvirt)
        elif asked.verb == "down":
            down(asked.lab)
        elif asked.verb == "list":
            show(as_json=asked.json)
        else:
            argv = find(asked.node).argv(asked.command or ["bash", "-i"])
            os.execvp(argv[0], argv)
    except LabError as error:
        print(f"script/lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
