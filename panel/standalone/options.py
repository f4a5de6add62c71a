"""script/server's command line. Standard library only: it is read before the virtual environment is there."""

from __future__ import annotations

import argparse
import ipaddress
from dataclasses import dataclass
from pathlib import Path

IMAGES = ("tiny", "debian-12")
TOP = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Options:
    """What script/server was asked for."""

    var: Path
    port: int
    listen: str
    images: tuple[str, ...]
    first_vm: str | None
    stop_vms: bool
    network: str = ""


def parse(argv: list[str]) -> Options:
    """The options in `argv`; ends the program with a sentence for unfit ones, and for --help."""
    parser = argparse.ArgumentParser(
        prog="script/server",
        description="Sets up and runs vmpanel on this machine: panel, worker, private database, this machine as the "
        "first node, OS images and a first VM. May be run again at any time; Ctrl-C stops what it started.",
    )
    parser.add_argument("--var", type=Path, default=TOP / "var", help="folder for all data (default: var/)")
    parser.add_argument("--port", type=int, default=1500, help="port of the panel, https (default: 1500)")
    parser.add_argument("--listen", default="0.0.0.0", help="address that the panel listens on (default: all)")
    parser.add_argument("--images", choices=("all", *IMAGES), default="all", help="which OS images to make")
    parser.add_argument("--no-first-vm", action="store_true", help="deploy no first VM")
    parser.add_argument("--stop-vms", action="store_true", help="shut the VMs of this machine down at the end too")
    parser.add_argument(
        "--network",
        type=_network,
        help="address range of the VMs' first network, as 10.77.0.0/24 (default: one that this machine does not use)",
    )
    asked = parser.parse_args(argv)
    if not 1 <= asked.port <= 65535:
        parser.error("--port must be 1 to 65535")
    images = IMAGES if asked.images == "all" else (asked.images,)
    return Options(
        var=asked.var.resolve(),
        port=asked.port,
        listen=asked.listen,
        images=images,
        first_vm=None if asked.no_first_vm else images[-1],
        stop_vms=asked.stop_vms,
        network=asked.network or "",
    )


def _network(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        network = None
    if network is None or not network.is_private or not 16 <= network.prefixlen <= 27:
        raise argparse.ArgumentTypeError("must be a private IPv4 network of 16 to 27 bits, as 10.77.0.0/24")
    return str(network)


if __name__ == "__main__":
    import sys

    # For the shell: what it must know before Python's packages are there.
    options = parse(sys.argv[1:])
    print(options.var)
    print(options.port)
