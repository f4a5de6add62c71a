"""The fault tests use the lab's fixtures."""

from tests.lab.conftest import api, cluster, lab, lab_nodes, stack

__all__ = ["api", "cluster", "lab", "lab_nodes", "stack"]
