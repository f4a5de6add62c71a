"""What panel and node agent say to each other: requests, results, errors, version.

The only part of the agent that the panel imports. One request class a command; docs/nodeagent.md
describes the lines on the wire.
"""

from nodeagent.protocol import (
    audit,
    devices,
    guest,
    host,
    identity,
    links,
    migration,
    network,
    node,
    settings,
    snapshot,
    storage,
    words,
)
from nodeagent.protocol.wire import (
    LONGEST_ANSWER,
    PROTOCOL_VERSION,
    REQUESTS,
    BadMessage,
    Fence,
    Nothing,
    Request,
    from_dict,
    to_dict,
)

__all__ = [
    "LONGEST_ANSWER",
    "PROTOCOL_VERSION",
    "REQUESTS",
    "BadMessage",
    "Fence",
    "Nothing",
    "Request",
    "audit",
    "devices",
    "from_dict",
    "guest",
    "host",
    "identity",
    "links",
    "migration",
    "network",
    "node",
    "settings",
    "snapshot",
    "storage",
    "to_dict",
    "words",
]
