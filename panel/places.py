"""Where the product's files are that are no Python: beside it in a checkout, under the prefix where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path

_TOP = Path(__file__).resolve().parent.parent
CHECKOUT = (_TOP / "setup.cfg").is_file() and (_TOP / "manage.py").is_file()
INSTALLED = Path(sys.prefix) / "share" / "vmpanel"
"""Where setup.cfg's data_files have them put."""

SHARED = _TOP if CHECKOUT else INSTALLED
"""The folder with templates/, images/ and etc/."""
MANAGE = _TOP / "manage.py" if CHECKOUT else Path(sys.prefix) / "bin" / "vmpanel-manage"
"""The program of manage.py, for Python to run."""
