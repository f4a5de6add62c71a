"""What kinds of networks have in common that make a Linux bridge: one with our mark, of a MAC made from its name."""

from __future__ import annotations

import ipaddress
from typing import ClassVar, Dict, List, Sequence, Set, Tuple

from nodeagent import hostnet, nft, uplinks
from nodeagent.errors import Exists, InvalidParams
from nodeagent.job import Job
from nodeagent.network.driver import Driver
from nodeagent.run import run

TABLES = "vmpanel_"
"""What the names of bridges' nft tables begin with."""


class Bridged(Driver):
    """A network with a bridge of its own."""

    FAMILIES: ClassVar[Tuple[str, ...]] = ()
    """The families of nft in which the kind has a table for each bridge."""

    def stands(self, job: Job) -> bool:
        """Whether the bridge is there."""
        return self.exists(job)

    def make(self, job: Job) -> None:
        """Have the bridge, up."""
        name, there = self.name, hostnet.links(job)
        self.refuse_taken(job)
        self.refuse_unable(job)
        # The same on every node: a guest that is moved finds its gateway where it remembers it.
        mac = hostnet.bridge_mac(name)
        if name not in there:
            run(["ip", "link", "add", "name", name, "address", mac, "type", "bridge", "forward_delay", "0"], job)
        run(["ip", "link", "set", "dev", name, "address", mac, "alias", hostnet.MARK], job)
        self.furnish(job)
        self._write_rules(job)
        run(["ip", "link", "set", "dev", name, "up"], job)

    def refuse_unable(self, job: Job) -> None:
        """Raise Unsupported, before anything is made, where the kernel cannot have the bridge's rules."""
        if not self.exists(job):
            nft.refuse_unknown(self.FAMILIES, job)

    def refuse_taken(self, job: Job) -> None:
        """Raise Exists where the host has an interface of its own of the bridge's name."""
        if hostnet.links(job).get(self.name) is False:
            text = f"The host has an interface “{self.name}” of its own, which the panel did not make."
            raise Exists(text, name=self.name)

    def furnish(self, job: Job) -> None:
        """The bridge has what the kind adds, before it is up."""

    def rules(self) -> Dict[str, str]:
        """The chains of the bridge's own nft tables, by their families; of checked values."""
        return {}

    def _write_rules(self, job: Job) -> None:
        rules = self._tables()
        for family in self.FAMILIES:
            if text := rules.get(family):
                run(["nft", "-f", "-"], job, stdin=text)
            else:
                nft.drop(family, self._table, job)

    @property
    def _table(self) -> str:
        return TABLES + self.name.replace("-", "_")

    def _tables(self) -> Dict[str, str]:
        """What replaces each table as a whole."""
        return {
            family: "table {0}\ndelete table {0}\ntable {0} {{\n{1}}}\n".format(f"{family} {self._table}", chains)
            for family, chains in self.rules().items()
            if chains
        }

    def remove(self, job: Job) -> None:
        """Bridge and rules are gone; a bridge only if it is ours."""
        # Not deleted with the host's own addresses, whatever is remembered of its kind.
        uplinks.leave(self.name, job)
        if self.exists(job):
            run(["ip", "link", "delete", "dev", self.name], job)
        for family in self.FAMILIES:
            nft.drop(family, self._table, job)

    def exists(self, job: Job) -> bool:
        """Whether it is there, and ours."""
        return hostnet.links(job).get(self.name, False)

    def ports(self, job: Job) -> List[str]:
        """The interfaces that are joined to it, but for its uplink."""
        joined = {entry["ifname"] for entry in hostnet.ip(["link", "show", "master", self.name], job)}
        return sorted(joined - {uplinks.find(self.name, job)})

    def lacks(self, job: Job) -> List[str]:
        """That it is not there, or not up, or that rules are not in the kernel as they are meant."""
        return [*self._lacks_link(job), *self._lacks_rules(job)]

    def _lacks_link(self, job: Job) -> List[str]:
        if not self.exists(job):
            return ["bridge"]
        return [] if "UP" in hostnet.ip(["link", "show", "dev", self.name], job)[0]["flags"] else ["up"]

    def _lacks_rules(self, job: Job) -> List[str]:
        meant = self._tables()
        for family in self.FAMILIES:
            wanted = nft.meant(meant[family], job) if family in meant else {}
            if nft.listed(family, self._table, job) != wanted:
                return ["rules"]
        return []

    def addresses(self, job: Job) -> List[str]:
        """The bridge's own addresses in CIDR form."""
        entries = hostnet.ip(["address", "show", "dev", self.name], job)
        return [f"{each['local']}/{each['prefixlen']}" for entry in entries for each in entry.get("addr_info", [])]

    @classmethod
    def made(cls, job: Job) -> Set[str]:
        """The bridges that are there with our mark, and those that a table of ours is for."""
        tables = [each for family in cls.FAMILIES for each in nft.tables(family, job) if each.startswith(TABLES)]
        names = {each[len(TABLES) :].replace("_", "-") for each in tables}
        return names | {name for name, ours in hostnet.links(job).items() if ours}

    def refuse_subnets(self) -> None:
        """Raise InvalidParams for subnets of which one is none, or has the node for its gateway."""
        try:
            for each in self.asked.every_subnet():
                ipaddress.ip_network(each.subnet)
        except ValueError as error:
            raise InvalidParams(f"This is not a network: {error}.", field="subnet") from error
        if any(each.gateway for each in self.asked.every_subnet()):
            raise InvalidParams("The node is no gateway of a network of this kind.", field="gateway")

    def refuse_options(self, *known: str) -> None:
        """Raise InvalidParams for an option that the kind does not have."""
        for name in sorted(self.asked.options.keys() - {*known}):
            text = (
                f"A network of this kind has no option “{name}”." if known else "A network of this kind has no options."
            )
            raise InvalidParams(text, field=name if known else "options")


def chain(name: str, base: str, lines: Sequence[str]) -> str:
    """A chain of a bridge's table that hooks in where `base` says."""
    rules = "".join(f"  {line}\n" for line in lines)
    return f" chain {name} {{\n  type {base}; policy accept;\n{rules} }}\n"
