"""Which live events are webhooks' events: those that tell of a change for good, and no progress."""

from __future__ import annotations

from typing import Any

TOPICS = ("task", "vm", "node", "problem")
NAMES = (
    "task.queued",
    "task.done",
    "task.failed",
    "task.cancelled",
    "task.stuck",
    "vm.status",
    "vm.gone",
    "node.state",
    "node.gone",
    "problem.opened",
    "problem.closed",
)


def named(event: dict[str, Any]) -> str | None:
    """The name of a live event; None for what webhooks are not told of."""
    topic = event.get("topic")
    if topic == "task":
        name = f"task.{event.get('status')}" if "step" not in event else ""
    elif topic == "vm":
        name = "vm.gone" if event.get("gone") else "vm.status"
    elif topic == "node":
        name = "node.gone" if event.get("gone") else "node.state"
    elif topic == "problem":
        # That somebody knows of it is no event of theirs.
        name = "" if "acknowledged" in event else "problem.opened" if event.get("open") else "problem.closed"
    else:
        return None
    return name if name in NAMES else None


def wanted(name: str, chosen: list[str]) -> bool:
    """Whether a webhook's choice has the event."""
    return "*" in chosen or name in chosen or f"{name.partition('.')[0]}.*" in chosen


def key_of(event: dict[str, Any], name: str, position: str) -> str:
    """What tells the event from all others: an end of a task comes once, however often it is told."""
    return f"{name}:{event.get('id')}" if name.startswith("task.") else f"{name}:{event.get('id')}:{position}"
