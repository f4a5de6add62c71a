"""A program: a guest at the bridge of this network namespace, and two hosts beyond it. Prints what reaches what.

    python3 guest_and_world.py BRIDGE GATEWAY GUEST

The node's other address is 192.0.2.1, the hosts' are 192.0.2.5 and 192.0.2.6. Needs root, and leaves nothing.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

CONNECT = """
import socket, sys
kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
kinds = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0), "ping": (socket.SOCK_RAW, 1)}
with socket.socket(socket.AF_INET, *kinds[kind]) as s:
    s.settimeout(3)
    s.connect((address, port))
    if kind == "ping":
        # An echo request, whose answer has the type 0.
        s.send(bytes([8, 0, 0xf7, 0xff, 0, 0, 0, 0]))
        assert s.recv(99)[20] == 0
    if kind == "udp":
        s.send(b"?")
        s.recv(9)
"""
LISTEN = """
import socket, sys
stream, datagrams = socket.create_server(("", 2222)), socket.socket(type=socket.SOCK_DGRAM)
dns = socket.create_server(("", 53))
datagrams.bind(("", 53))
other = socket.socket(type=socket.SOCK_DGRAM)
other.bind(("", 2223))
print("up", flush=True)
import select
while True:
    for each in select.select([datagrams, other], [], [])[0]:
        each.sendto(b"!", each.recvfrom(9)[1])
"""


def start(*argv: str) -> subprocess.Popen[str]:
    """A program that says that it is up."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    return process


def inside(process: subprocess.Popen[str], *argv: str) -> bool:
    """Whether a program ends well in the namespace of a process."""
    command = ["nsenter", "--net", "--target", str(process.pid), "--", *argv]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def join(process: subprocess.Popen[str], near: str, address: str, gateway: str, *more: str) -> None:
    """A cable from here to the namespace of a process."""
    ip("link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", str(process.pid))
    ip("link", "set", near, "up")
    for command in (["link", "set", "lo", "up"], ["link", "set", "eth0", "up"]):
        assert inside(process, "ip", *command)
    for each in (address, *more):
        assert inside(process, "ip", "address", "add", each, "dev", "eth0")
    assert inside(process, "ip", "route", "add", "default", "via", gateway)


def ip(*argv: str) -> None:
    """Change the network here."""
    subprocess.run(["ip", *argv], check=True)


def main(bridge: str, gateway: str, guest_address: str) -> dict[str, Any]:
    """What reaches what."""
    programs = [
        start(*front, sys.executable, "-c", LISTEN) for front in (["unshare", "--net"], ["unshare", "--net"], [])
    ]
    guest, world, _node = programs
    try:
        join(guest, "guest0", f"{guest_address}/24", gateway)
        ip("link", "set", "guest0", "master", bridge)
        join(world, "world0", "192.0.2.5/24", "192.0.2.1", "192.0.2.6/24")
        ip("address", "add", "192.0.2.1/24", "dev", "world0")

        def reaches(kind: str, address: str, port: int) -> bool:
            return inside(guest, sys.executable, "-c", CONNECT, kind, address, str(port))

        ours = [("tcp", gateway, 2222), ("tcp", "192.0.2.1", 2222), ("udp", gateway, 2223)]
        with socket.create_connection((guest_address, 2222), timeout=5):
            return {
                "node": [reaches(*each) for each in ours],
                "dns": [reaches(kind, gateway, 53) for kind in ("tcp", "udp")],
                "dns elsewhere": reaches("tcp", "192.0.2.1", 53),
                "ping": reaches("ping", gateway, 0),
                "panel": reaches("tcp", "192.0.2.5", 2222),
                "world": reaches("tcp", "192.0.2.6", 2222),
            }
    finally:
        # The kernel takes the ends of a namespace that is gone away some time later.
        for end in ("guest0", "world0"):
            subprocess.run(["ip", "link", "delete", end], capture_output=True, check=False)
        for program in programs:
            program.kill()
            program.communicate()


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
