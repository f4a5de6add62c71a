"""Folders whose modules register what they have, one file a thing: kinds of storages, of networks."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable


def load_modules(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, by its `__name__` and `__path__`, in the order of their names."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
