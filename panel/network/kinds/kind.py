"""What a kind of network says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeVar

from panel.cluster.models import Node
from panel.core.validation import Params, parse

Options = Mapping[str, str]
K = TypeVar("K", bound="type[Kind]")


class Kind:
    """A kind of network. `options` are a pydantic model, whose descriptions are the help that people see."""

    name: ClassVar[str]
    label: ClassVar[str]
    options: ClassVar[type[Params]]
    versions: ClassVar[tuple[int, ...]] = (4, 6)
    """Of which versions of IP its subnets can be."""
    node_is_gateway: ClassVar[bool] = False
    """Whether each node has the subnets' gateways for its own, which then no other interface of a node may overlap."""
    on_trial: ClassVar[bool] = False
    """Whether a node that cannot be reached anew after it was made is to have all as it was before."""
    everywhere: ClassVar[bool] = True
    """Whether a host that cannot have it is no node. Else it is a node all the same, and gets no VM of the network."""
    gateways: ClassVar[Mapping[int, str]] = {}
    """By version, what gateway a subnet has for which none is said; with any, it may lie outside of the subnet."""
    alone_in_prefix: ClassVar[bool] = False
    """Whether a guest has each address alone (/32, /128), and its subnet is not on its link."""
    translated: ClassVar[bool] = False
    """Whether its guests leave a node with the node's address."""

    def checked(self, options: Mapping[str, object]) -> dict[str, str]:
        """The options as they are kept; raises InvalidValue and MissingValue with the option's name as the field."""
        return {name: str(value) for name, value in parse(self.options, options).model_dump(exclude_none=True).items()}

    def clash(self, options: Options, other: Options) -> str:
        """The name of the option by which two networks of the kind would be one; "" where none does."""
        return ""

    def gateway_on_node(self, gateway: str, prefix: int) -> str:
        """The gateway as each node has it on the bridge, with its prefix; "" where it is not the node's."""
        return f"{gateway}/{prefix}" if self.node_is_gateway else ""

    def hosts_bridge(self, options: Options) -> str:
        """The hosts' own bridge that guests join, by its name; "" where nodes make one of the network's name."""
        return ""

    def mtu(self, options: Options) -> int:
        """How large packets of its guests are at most, in bytes; 0 for what is usual."""
        return 0

    def on_node(self, options: Options, node: Node) -> dict[str, str]:
        """The options as this node is told them."""
        return dict(options)

    def uplink(self, options: Options, node: str) -> str:
        """The interface of the node of this name that the network goes out by; "" for none of its own."""
        return ""


KINDS: dict[str, Kind] = {}
"""All kinds by their names."""


def register(kind: K) -> K:
    """Class decorator: have the kind among those that networks can be of."""
    KINDS[kind.name] = kind()
    return kind
