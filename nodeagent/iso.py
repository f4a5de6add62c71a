"""Reading the small text files of an ISO 9660 image with Joliet names (ECMA-119), without mounting it."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

SECTOR = 2048
FIRST_DESCRIPTOR = 16
SUPPLEMENTARY, TERMINATOR = 2, 255
ROOT_RECORD = 156
DIRECTORY = 0x02


class NotAnIso(ValueError):
    """It is no ISO 9660 image with Joliet names."""


def read_texts(path: Path) -> Dict[str, str]:
    """The files of the image's root folder by name; raises NotAnIso."""
    data = path.read_bytes()
    try:
        return {name: text.decode("utf-8") for name, text in _root_files(data).items()}
    except (IndexError, UnicodeDecodeError) as error:
        raise NotAnIso(f"{path.name} cannot be read") from error


def _root_files(data: bytes) -> Dict[str, bytes]:
    root = _joliet_root(data)
    begin, length = _extent(root)
    found, offset = {}, begin
    while offset < begin + length:
        size = data[offset]
        if size == 0:
            # A record does not cross sectors: the rest of this one is empty.
            offset += SECTOR - offset % SECTOR
            continue
        record = data[offset : offset + size]
        offset += size
        if not record[25] & DIRECTORY:
            name = record[33 : 33 + record[32]].decode("utf-16-be").partition(";")[0]
            start, content = _extent(record)
            found[name] = data[start : start + content]
    return found


def _joliet_root(data: bytes) -> bytes:
    for sector in range(FIRST_DESCRIPTOR, len(data) // SECTOR):
        descriptor = data[sector * SECTOR : (sector + 1) * SECTOR]
        if descriptor[1:6] != b"CD001" or descriptor[0] == TERMINATOR:
            break
        if descriptor[0] == SUPPLEMENTARY:
            return descriptor[ROOT_RECORD : ROOT_RECORD + 34]
    raise NotAnIso("there are no Joliet names")


def _extent(record: bytes) -> tuple[int, int]:
    return int.from_bytes(record[2:6], "little") * SECTOR, int.from_bytes(record[10:14], "little")
