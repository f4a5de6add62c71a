"""What a disk image's first bytes say: of which format it is, and whether it refers to other files.

An image comes from somewhere. Where it names another file (a backing file, a data file, an extent), QEMU on a node
reads that file of the node and gives it to the guest. So an image is qcow2 or raw and stands alone, which its header
says for certain: nothing here starts a program or believes what somebody else has said of the file.
"""

from __future__ import annotations

from typing import Tuple

HEAD_BYTES = 4096
"""So many of a file's first bytes are enough."""
QCOW2 = b"QFI\xfb"
BACKING_OFFSET, VERSION, FEATURES = slice(8, 16), slice(4, 8), slice(72, 80)
"""QEMU's docs/interop/qcow2.txt."""
EXTERNAL_DATA = 0b100
"""An incompatible feature: the data are in another file."""
FORMATS = ("qcow2", "raw")
_OTHERS: Tuple[Tuple[int, bytes, str], ...] = (
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (0, b"QED\0", "QED"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"WithouFreSpacExt", "Parallels"),
    (0, b"OOOM", "COW"),
    (64, b"\x7f\x10\xda\xbe", "VDI"),
)
"""Where in the file what stands, of the formats that can name other files and that nobody should have to guess."""


def refusal(head: bytes, kind: str) -> str:
    """Why a file that begins so is not taken for an image of this format; "" where it is."""
    if kind not in FORMATS:
        return "An image is qcow2 or raw: convert it with “qemu-img convert -O qcow2”."
    for offset, magic, name in _OTHERS:
        if head[offset : offset + len(magic)] == magic:
            text = "which may refer to other files: convert it with “qemu-img convert -O qcow2”."
            return f"This is a {name} image, {text}"
    if head[:4] != QCOW2:
        return "This is no qcow2 image." if kind == "qcow2" else ""
    return _qcow2_refusal(head)


def _qcow2_refusal(head: bytes) -> str:
    """The same of a qcow2 image, whatever it is said to be: QEMU takes it for one where nobody says otherwise."""
    version = int.from_bytes(head[VERSION], "big")
    if version not in (2, 3) or len(head) < FEATURES.stop:
        return "This is no qcow2 image of version 2 or 3."
    if int.from_bytes(head[BACKING_OFFSET], "big"):
        return _refers("a backing file")
    if version == 3 and int.from_bytes(head[FEATURES], "big") & EXTERNAL_DATA:
        return _refers("a data file")
    return ""


def _refers(what: str) -> str:
    return (
        f"The image refers to another file ({what}), and a guest would be given that file of its node: "
        "make one that stands alone with “qemu-img convert -O qcow2”."
    )
