"""Reading the files of an ISO image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nodeagent import iso

MAKE = next((each for each in ("genisoimage", "mkisofs") if shutil.which(each)), None)


@pytest.mark.skipif(MAKE is None, reason="no genisoimage")
def test_every_file_of_the_root_is_read_under_its_name(tmp_path: Path) -> None:
    folder, image = tmp_path / "files", tmp_path / "x.iso"
    folder.mkdir()
    # So many that their records take more than one sector.
    texts = {f"file-{number}-with-a-long-name.env": f"ä{number}\n" * number for number in range(60)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    subprocess.run([str(MAKE), "-quiet", "-o", str(image), "-V", "cidata", "-J", "-r", str(folder)], check=True)
    assert iso.read_texts(image) == texts


@pytest.mark.parametrize("content", [b"", b"no image", b"\0" * 100_000, b"\1CD001" * 30_000])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.iso").write_bytes(content)
    with pytest.raises(iso.NotAnIso):
        iso.read_texts(tmp_path / "x.iso")
