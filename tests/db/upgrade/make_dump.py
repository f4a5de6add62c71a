"""Makes the dump of a release, as script/release-dump asks; pytest collects this file only where it is named."""

from __future__ import annotations

import os
from pathlib import Path

import panel
from panel.accounts.models import Level, User
from panel.images.models import Image
from tests.db.conftest import hashed
from tests.db.upgrade import dumping, flight, messages, remembered


def test_make(image: Image) -> None:
    """Not a test: writes the files and says how large they are."""
    release = os.environ.get("VMPANEL_RELEASE", panel.__version__)
    with dumping.without_chance():
        admin = User.objects.create(name="admin", password=hashed("correct horse"), level=Level.SUPER)
        flight.fly(admin)
        waits = messages.fill(admin)
        files = dumping.write(release, {**waits, "domains": remembered.domains()})
    for each in files:
        print(f"{each.relative_to(Path.cwd())}: {each.stat().st_size} bytes")
