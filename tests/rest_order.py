"""The door of an order through the REST API, over whatever carries its calls."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

Call = Callable[..., tuple[int, Any]]
"""call(method, path, body=None, **headers) → status and the answer's JSON (None for an empty one)."""


class RestDoor:
    """A billing system that calls REST."""

    def __init__(
        self,
        call: Call,
        wait: Callable[[int], None],
        time_passes: Callable[[], None],
        image: str,
        since: datetime,
        owner: str,
        **order: Any,
    ) -> None:
        """`wait` returns when a task has ended; `order` is said in the order besides."""
        self.call, self.wait, self.time_passes = call, wait, time_passes
        self.image, self.since, self.owner, self.order = image, since, owner, order

    def _do(self, path: str, body: dict[str, Any] | None = None, method: str = "post") -> Any:
        status, told = self.call(method, path, body)
        assert status == 202, (path, told)
        self.wait(told["task"]["id"])
        _, task = self.call("get", f"tasks/{told['task']['id']}")
        assert task["status"] == "done", task["error"]
        return told

    def _get(self, path: str) -> Any:
        status, told = self.call("get", path)
        assert status == 200, (path, told)
        return told

    def create(self, name: str, package: str) -> int:
        """Order a VM, twice with one key."""
        body = {"name": name, "image": self.image, "flavor": package, "owner": self.owner, **self.order}
        key = str(uuid.uuid4())
        status, first = self.call("post", "vms", body, idempotency_key=key)
        assert status == 202, first
        _, again = self.call("post", "vms", body, idempotency_key=key)
        assert (again["task"]["id"], again["vm"]) == (first["task"]["id"], first["vm"])
        self.wait(first["task"]["id"])
        assert self._get(f"tasks/{first['task']['id']}")["status"] == "done"
        return int(first["vm"])

    def suspend(self, vm: int) -> None:
        """Keep it off."""
        self._do(f"vms/{vm}/suspend", {"reason": "not paid for", "timeout_seconds": 5})

    def resume(self, vm: int) -> None:
        """Let it run again."""
        self._do(f"vms/{vm}/unsuspend", {})

    def change_package(self, vm: int, package: str) -> None:
        """The other flavor's numbers, its disk too."""
        self._do(f"vms/{vm}/configure", {"flavor": package})
        flavor = next(each for each in self._get("flavors")["results"] if each["name"] == package)
        self._do(f"vms/{vm}/grow-disk", {"disk": "vda", "size_gib": flavor["disk_gib"]})

    def reinstall(self, vm: int) -> None:
        """The same system anew."""
        self._do(f"vms/{vm}/reinstall", {"password": "correct horse"})

    def console_link(self, vm: int) -> str:
        """A link that signs the customer in and leads to the console."""
        users = self._get(f"users?name={self.owner}")["results"]
        status, told = self.call("post", f"users/{users[0]['id']}/signin-key", {"leads_to": f"/vms/{vm}/console"})
        assert (status, told["leads_to"]) == (201, f"/vms/{vm}/console"), told
        return str(told["path"])

    def terminate(self, vm: int) -> None:
        """Delete it."""
        self._do(f"vms/{vm}", None, "delete")

    def is_there(self, vm: int) -> bool:
        """Whether it can be read."""
        return self.call("get", f"vms/{vm}")[0] == 200

    def shown(self, vm: int) -> dict[str, Any]:
        """What is compared of it."""
        told = self._get(f"vms/{vm}")
        kept = {name: told[name] for name in ("status", "memory_mib", "vcpus")}
        return kept | {"suspended": told["suspended_at"] is not None}

    def usage(self, vm: int) -> dict[str, Any]:
        """Both ways to ask say the same."""
        since = self.since.strftime("%Y-%m-%dT%H:%M:%SZ")
        told = self._get(f"vms/{vm}/usage?from={since}")
        until = told["end"]
        [listed] = [
            each
            for each in self._get(f"usage?from={since}&to={until}&owner={self.owner}")["results"]
            if each["vm"] == vm
        ]
        assert listed == {name: value for name, value in told.items() if name != "intervals"}
        begin, end = (datetime.fromisoformat(told[name]) for name in ("begin", "end"))
        return {
            "active": told["active"]["seconds"],
            "suspended": told["suspended"]["seconds"],
            "absent": told["absent_seconds"],
            "period": int((end - begin).total_seconds()),
            "memory": sorted({size["memory_mib"] for size in told["sizes"]}),
        }
