"""What the monitoring app's tests share."""

from __future__ import annotations

from datetime import timedelta

import pytest

from panel.accounts.models import User
from panel.cluster.models import Node
from panel.vms.models import Vm
from tests.db.monitoring.counting import NOW
from tests.db.monitoring.messages import make_vm


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """A running VM that is not young."""
    vm = make_vm(node, user, "web1")
    Vm.objects.filter(pk=vm.pk).update(created_at=NOW - timedelta(days=30))
    return vm
