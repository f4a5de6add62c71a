"""Some of everything, for a panel that is called at random: `python -m tests.db.api.seeds` fills its database.

Whoever calls is an administrator whose own ids are so large that a random call does not hit them.
"""

from __future__ import annotations

import json
from typing import Any

CALLER = 700_000
TOKEN = 800_000


def sow() -> str:
    """Fill the database; answers a token of the caller."""
    from panel.accounts.models import Level, SshKey, Token, User
    from panel.accounts.tokens import create_token
    from panel.images.services import ensure_flavors
    from panel.notices.services import open_problem
    from panel.tasks.models import Task
    from panel.vms.models import Cause, Snapshot, StatusChange, VmStatus
    from tests.db.conftest import make_node
    from tests.db.monitoring.messages import make_vm

    caller = User(pk=CALLER, name="caller", level=Level.SUPER)
    caller.set_unusable_password()
    caller.save()
    customer = User.objects.create_user("anna", level=Level.USER)
    node = make_node()
    ensure_flavors()
    for number in range(3):
        vm = make_vm(node, (caller, customer)[number % 2], f"vm{number}")
        Snapshot.objects.create(vm=vm, name="first")
        StatusChange.objects.create(vm=vm, status=VmStatus.RUNNING, at=vm.created_at, cause=Cause.VMWATCH, node=node)
        Task.objects.create(operation="vm.start", title="Start", owner=vm.owner, object_type="vm", object_id=vm.pk)
    open_problem("seed", "Something is wrong.")
    SshKey.objects.create(user=caller, name="laptop", public_key="ssh-ed25519 AAAA")
    token, text = create_token(caller, "tests")
    Token.objects.filter(pk=token.pk).update(id=TOKEN)
    return text


if __name__ == "__main__":
    import django

    django.setup()
    answer: dict[str, Any] = {"token": sow()}
    print(json.dumps(answer))
