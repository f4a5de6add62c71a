"""Anti-spoofing filters of ports: in force, lost, damaged by hand, and told of; on the fake node and in a namespace."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodeagent.hostnet import link_local
from nodeagent.protocol import Nothing, audit, host, network, storage
from tests.contract import frames
from tests.contract.bridges import ENSURE, PORT, damage, far_end, guarded
from tests.contract.subjects import AgentSubject, FakeSubject, Subject, make_spec

pytestmark = pytest.mark.netns


def guards(node: Subject) -> list[network.AntiSpoofingFilter]:
    """What the node says of anti-spoofing filters."""
    return node.call(network.BridgesRead()).guards


def test_a_filter_is_told_of_as_long_as_its_domain(node: Subject) -> None:
    spec = guarded(node)
    mine = network.AntiSpoofingFilter(PORT, spec.uuid, "52:54:00:12:34:56", ["10.77.0.10", "10.77.0.11"])
    other = replace(spec.interfaces[0], mac="52:54:00:00:00:02")
    second = make_spec(node.pool, interfaces=[other])
    node.call(host.HostCreate(spec=second))
    assert sorted(guards(node), key=lambda each: each.port)[1:] == [mine]
    assert {each.vm: each.in_force for each in guards(node)} == {spec.uuid: True, second.uuid: True}
    node.call(host.HostDelete(uuid=second.uuid))
    assert guards(node) == [mine]
    node.call(host.HostDelete(uuid=spec.uuid))
    assert guards(node) == []


DAMAGES = [
    "nft delete table bridge vmpanel_guard",
    f"nft flush chain bridge vmpanel_guard {PORT}",
    f"nft insert rule bridge vmpanel_guard {PORT} accept",
    "nft flush chain bridge vmpanel_guard prerouting",
    "nft insert rule bridge vmpanel_guard prerouting accept",
]


@pytest.mark.parametrize("command", DAMAGES)
def test_a_filter_that_the_kernel_does_not_have_as_remembered_is_not_in_force(node: Subject, command: str) -> None:
    spec = guarded(node)
    assert [each.in_force for each in guards(node)] == [True]
    damage(node, lambda fake: fake.node.rules.clear(), command)
    assert [(each.vm, each.in_force) for each in guards(node)] == [(spec.uuid, False)]


@pytest.mark.parametrize("command", DAMAGES)
def test_a_domain_that_is_defined_anew_is_filtered_whatever_became_of_its_filter(node: Subject, command: str) -> None:
    spec = guarded(node)
    damage(node, lambda fake: fake.node.rules.clear(), command)
    node.call(host.HostCreate(spec=spec))
    assert [(each.vm, each.in_force) for each in guards(node)] == [(spec.uuid, True)]


def test_a_filter_that_only_the_kernel_has_is_told_of(node: Subject) -> None:
    spec = guarded(node)
    stray = network.AntiSpoofingFilter("tap525400000099")
    rules = f"nft add chain bridge vmpanel_guard {stray.port}"
    damage(node, lambda fake: fake.node.rules.update({stray.port: stray}), rules)
    assert {each.port: (each.vm, each.in_force) for each in guards(node)} == {
        PORT: (spec.uuid, True),
        stray.port: ("", True),
    }


def test_a_domain_that_is_repaired_is_filtered_again(node: Subject) -> None:
    spec = guarded(node)
    node.call(host.HostDelete(uuid=spec.uuid))
    assert guards(node) == []
    node.call(storage.VolumeCreate(volume=spec.disks[0].volume, size_bytes=1024**2))
    node.call(audit.HostRepair(spec=spec))
    assert [(each.vm, each.in_force) for each in guards(node)] == [(spec.uuid, True)]


def two_filtered(node: Subject) -> tuple[host.DomainSpec, host.DomainSpec]:
    """Two domains whose ports are filtered, the second with an IPv6 address too."""
    first = guarded(node)
    other = replace(first.interfaces[0], mac="52:54:00:00:00:02", addresses=["10.77.0.12", "fd00::12"])
    second = make_spec(node.pool, interfaces=[other])
    node.call(host.HostCreate(spec=second))
    return first, second


def forget_filters(node: Subject) -> None:
    """What the node remembers of anti-spoofing filters is lost; its kernel has them still."""
    if isinstance(node, FakeSubject):
        node.node.guards.clear()
    elif isinstance(node, AgentSubject):
        (node.agent.root / "var/lib/vmpanel/guards.json").unlink()


def rules_of(node: Subject) -> dict[str, object]:
    """The rules of each port in the kernel."""
    if isinstance(node, FakeSubject):
        return {port: (rule.mac, rule.addresses) for port, rule in node.node.rules.items()}
    assert isinstance(node, AgentSubject)
    shown = node.agent.run_in_namespace("nft", "list", "table", "bridge", "vmpanel_guard")
    return {part.split()[0]: part.partition("{")[2] for part in shown.split("chain ")[1:]}


def test_what_is_remembered_of_filters_may_be_lost_and_no_port_becomes_unfiltered(node: Subject) -> None:
    first, _ = two_filtered(node)
    before = rules_of(node)
    forget_filters(node)
    node.call(host.HostCreate(spec=first))
    assert rules_of(node) == before
    # The second is the kernel's alone until the panel says again whose it is.
    assert {each.port: each.vm for each in guards(node)} == {PORT: first.uuid, "tap525400000002": ""}
    node.call(host.HostDelete(uuid=first.uuid))
    assert rules_of(node).keys() & {PORT, "tap525400000002"} == {"tap525400000002"}


@pytest.mark.covers("guards_ensure")
def test_the_panel_says_which_ports_are_filtered_and_which_no_more(node: Subject) -> None:
    first, second = two_filtered(node)
    told = guards(node)
    forget_filters(node)
    stray = network.AntiSpoofingFilter("tap525400000099")
    damage(
        node,
        lambda fake: fake.node.rules.update({stray.port: stray}),
        f"nft add chain bridge vmpanel_guard {stray.port}",
    )
    wanted = [network.VmFilters(each.uuid, each.interfaces) for each in (first, second)]
    for _ in range(2):
        assert node.call(network.FiltersEnsure(guards=wanted, gone=[stray.port])) == Nothing()
        assert sorted(guards(node), key=str) == sorted(told, key=str)
    node.call(network.FiltersEnsure(guards=[network.VmFilters(second.uuid, [])], gone=[]))
    assert [each.vm for each in guards(node)] == [first.uuid]


def test_a_broken_record_of_filters_is_a_lost_one(node: Subject) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no files")
    first, _ = two_filtered(node)
    before = rules_of(node)
    (node.agent.root / "var/lib/vmpanel/guards.json").write_text('{"half')
    node.call(host.HostCreate(spec=first))
    assert rules_of(node) == before


NETWORKS = {
    "isolated": network.BridgeEnsure("vmbr-i", kind="isolated", nat=False),
    "routed": network.BridgeEnsure(
        "vmbr-r",
        "169.254.1.1/32",
        "192.0.2.0/24",
        kind="routed",
        further=[network.Subnet("2001:db8::/64", "fe80::1/64")],
        nat=False,
    ),
    "nat": ENSURE,
    "vxlan": network.BridgeEnsure("vmbr-x", kind="vxlan", options={"vni": "7", "local": "127.0.0.1"}, nat=False),
}
MAC = "52:54:00:12:34:56"
ADDRESSES = ["192.0.2.9", "192.0.2.10", "2001:db8::9", "2001:db8::10"]


@pytest.mark.parametrize(
    "kind", ["isolated", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("routed", "nat", "vxlan"))]
)
def test_a_guest_is_nobody_but_itself(node: Subject, kind: str) -> None:
    if not isinstance(node, AgentSubject):
        pytest.skip("the fake has no kernel")
    node.agent.run_in_namespace("ip", "link", "set", "lo", "up")
    node.call(NETWORKS[kind])
    spec, bridge = make_spec(node.pool), NETWORKS[kind].name
    mine = replace(spec.interfaces[0], mac=MAC, bridge=bridge, guarded=True, addresses=ADDRESSES)
    node.call(host.HostCreate(spec=replace(spec, interfaces=[mine])))
    proper, improper = (each(MAC, link_local(MAC), ADDRESSES) for each in (frames.proper, frames.improper))
    with far_end(node, PORT) as guest, far_end(node, "other0") as other:
        for each in (PORT, "other0"):
            node.agent.run_in_namespace("ip", "link", "set", each, "master", bridge)
        assert [each.in_force for each in guards(node)] == [True]
        last = frames.Sender(MAC).four(ADDRESSES[0])
        let_out = frames.heard(other, guest, {**proper, **improper}, last)
        assert sorted(let_out - proper.keys()) == []
        assert sorted(proper.keys() - let_out) == []
        # Without its filter everybody hears all of it, but what no bridge passes on, or holds until it is whole.
        node.call(network.FiltersEnsure(guards=[network.VmFilters(spec.uuid, [])]))
        unheard = improper.keys() - frames.heard(other, guest, improper, last)
        behind = {f"router advertisement {where}" for where in ("behind hop-by-hop options", "in a fragment")}
        assert unheard <= {"LLDP", *behind}
