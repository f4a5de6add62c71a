"""Names of addresses at a real PowerDNS: they follow a VM's life, also where the server was away meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts.models import JournalEntry, User
from panel.cluster.models import Node
from panel.dns.bringing import bring, bring_all
from panel.dns.models import DnsServer, Due, Record, ReverseName
from panel.dns.wanted import refresh
from panel.images.models import Image
from panel.network.models import Network
from panel.network.subnets import add_subnet
from panel.notices.models import Problem
from panel.tasks import registry
from panel.tasks.models import Task, TaskSecret
from panel.vms.models import Vm
from tests.db.conftest import run_task
from tests.db.dns.pdns import KEY, Pdns

SERVER: dict[str, Any] = {
    "name": "ns1",
    "api_key": KEY,
    "ranges": ["10.77.0.0/16", "2001:db8::/48"],
    "domain": "vm.example.org",
    "forward": True,
    "zone_nameservers": ["ns1.example.org", "ns2.example.org"],
}


@pytest.fixture(scope="session")
def pdns_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pdns]:
    """One server for all tests."""
    server = Pdns(tmp_path_factory.mktemp("pdns"))
    yield server
    server.stop()


@pytest.fixture
def pdns(pdns_process: Pdns) -> Pdns:
    """The server, running, without zones."""
    pdns_process.empty()
    return pdns_process


@pytest.fixture
def api(admin: User, node: Node, image: Image) -> APIClient:
    """An administrator's client; a node is there."""
    client = APIClient()
    client.force_authenticate(admin)
    return client


@pytest.fixture
def server(api: APIClient, pdns: Pdns) -> DnsServer:
    """The panel knows the server."""
    answer = api.post("/api/v1/dns-servers", {**SERVER, "url": pdns.url}, format="json")
    assert answer.status_code == 202, answer.json()
    return DnsServer.objects.get(pk=answer.json()["dns_server"])


def vm_of(owner: User, name: str = "web1") -> Vm:
    """A VM of somebody's, with one address."""
    raw = {"name": name, "image": "small", "flavor": "small", "password": "correct horse"}
    task = run_task(registry.get("vm.create").submit(owner, raw))
    assert task.status == "done", task.error
    return Vm.objects.get(pk=task.object_id)


def ip_of(vm: Vm) -> str:
    """Its address."""
    return str(vm.interfaces.get().ip)


def call_it(by: User, vm: Vm, name: str, ip: str = "") -> Any:
    """Give its address a name, over REST."""
    client = APIClient()
    client.force_authenticate(by)
    body = {"address": ip or ip_of(vm), "name": name}
    return client.post(f"/api/v1/vms/{vm.pk}/set-reverse-name", body, format="json")


def do(admin: User, vm: Vm, operation: str, **raw: Any) -> None:
    """An operation on the VM, ended well."""
    task = run_task(registry.get(operation).submit(admin, raw, object_id=vm.pk))
    assert task.status == "done", task.error


def try_again(server: DnsServer) -> None:
    """The time until the next try, or look, has gone by."""
    DnsServer.objects.filter(pk=server.pk).update(next_try_at=None, compare_at=timezone.now() - timedelta(seconds=1))
    Record.objects.exclude(next_try_at=None).update(next_try_at=timezone.now())
    bring_all()


def open_problems() -> set[str]:
    """The open ones of name servers, without their ids."""
    keys = Problem.objects.exclude(open_key=None).values_list("key", flat=True)
    return {each.rpartition(":")[2] for each in keys if each.startswith("dns-server:")}


def test_names_follow_a_vms_life(api: APIClient, admin: User, user: User, server: DnsServer, pdns: Pdns) -> None:
    Network.objects.update(kind="isolated")
    add_subnet(Network.objects.get(), "2001:db8::/64", None, ranges=[("2001:db8::100", "2001:db8::1ff")])
    vm = vm_of(user)
    v4, v6 = vm.interfaces.get().ips
    bring_all()
    # The zones are made, of IPv4 one for a /24, of IPv6 one for the range.
    assert {each["name"] for each in pdns.ask("GET", "zones")} == {
        "0.77.10.in-addr.arpa.", "0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", "vm.example.org.",
    }  # fmt: skip
    assert pdns.look_up("0.77.10.in-addr.arpa", "NS") == ["ns1.example.org.", "ns2.example.org."]
    assert pdns.name_of(v4) == pdns.name_of(v6) == ["web1.vm.example.org."]
    assert pdns.look_up("web1.vm.example.org", "A") == [v4]
    assert pdns.look_up("web1.vm.example.org", "AAAA") == [v6]

    # Its owner gives it a name; the panel's own stays what it leads from.
    assert call_it(user, vm, "Mail.Example.COM.").status_code == 202
    bring_all()
    assert (pdns.name_of(v4), pdns.name_of(v6)) == (["mail.example.com."], ["web1.vm.example.org."])
    shown = {each["ip"]: each for each in api.get("/api/v1/ipam/addresses").json()["results"]}
    assert (shown[v4]["ptr"], shown[v4]["ptr_state"]) == ("mail.example.com", "done")

    do(admin, vm, "vm.force-off")
    do(admin, vm, "vm.rename", name="web2")
    bring_all()
    assert (pdns.name_of(v4), pdns.name_of(v6)) == (["mail.example.com."], ["web2.vm.example.org."])
    assert (pdns.look_up("web1.vm.example.org", "A"), pdns.look_up("web2.vm.example.org", "A")) == ([], [v4])

    assert call_it(user, vm, "").status_code == 202
    bring_all()
    assert pdns.name_of(v4) == ["web2.vm.example.org."]

    call_it(user, vm, "mail.example.com")
    do(admin, vm, "vm.delete")
    bring_all()
    assert pdns.name_of(v4) == pdns.name_of(v6) == pdns.look_up("web2.vm.example.org", "A") == []
    # Whoever has the address next does not have its name.
    assert (Record.objects.count(), ReverseName.objects.count(), Due.objects.count()) == (0, 0, 0)


def test_what_happened_while_the_server_was_away_is_made_up_for(
    admin: User, user: User, server: DnsServer, pdns: Pdns
) -> None:
    first, second = vm_of(user), vm_of(user, "web2")
    bring_all()
    pdns.stop()
    freed = ip_of(first)
    do(admin, first, "vm.delete")
    assert call_it(user, second, "mail.example.com").status_code == 202
    bring_all()
    server.refresh_from_db()
    assert (server.failures, open_problems()) == (1, {"away"})
    assert "cannot be reached" in server.error and KEY not in server.error
    bring_all()
    server.refresh_from_db()
    # It is left alone until it is tried again, later and later.
    assert server.failures == 1
    DnsServer.objects.update(next_try_at=None)
    bring_all()
    server.refresh_from_db()
    assert server.failures == 2 and server.next_try_at is not None
    assert server.next_try_at - timezone.now() > timedelta(seconds=2)

    pdns.start()
    try_again(server)
    assert (pdns.name_of(freed), pdns.name_of(ip_of(second))) == ([], ["mail.example.com."])
    assert open_problems() == set()


def test_records_made_by_hand_stay_and_are_told_of(admin: User, user: User, server: DnsServer, pdns: Pdns) -> None:
    vm = vm_of(user)
    bring_all()
    ip, zone = ip_of(vm), "0.77.10.in-addr.arpa."
    name = ".".join(reversed(ip.split("."))) + ".in-addr.arpa."
    # Changed by hand: it stays, also when the VM gets another name and when it is gone.
    pdns.write(zone, name, "PTR", "by.hand.example.")
    try_again(server)
    assert (pdns.name_of(ip), open_problems()) == (["by.hand.example."], {"by-hand", "differed"})
    call_it(user, vm, "mail.example.com")
    bring_all()
    assert pdns.name_of(ip) == ["by.hand.example."]
    assert name.removesuffix(".") in Problem.objects.get(key__endswith="by-hand").text
    # Taken away by hand: the panel's own is there again.
    pdns.write(zone, name, "PTR")
    try_again(server)
    assert pdns.name_of(ip) == ["mail.example.com."]
    # Lost by the server: mended, and told of until a look finds nothing.
    pdns.ask("DELETE", f"zones/{zone}")
    try_again(server)
    assert (pdns.name_of(ip), open_problems()) == (["mail.example.com."], {"differed"})
    try_again(server)
    assert open_problems() == set()
    # One beside ours stays when ours goes; so does an alias where a name of ours would be.
    pdns.write(zone, name, "PTR", "mail.example.com.", "by.hand.example.")
    pdns.write("vm.example.org.", "web2.vm.example.org.", "CNAME", "elsewhere.example.")
    other = vm_of(user, "web2")
    do(admin, vm, "vm.delete")
    bring_all()
    assert pdns.name_of(ip) == ["by.hand.example."]
    assert pdns.look_up("web2.vm.example.org", "CNAME") == ["elsewhere.example."]
    assert Record.objects.get(vm_id=other.pk, type="A").state == "by hand"


def test_a_set_that_the_server_refuses_holds_up_no_other(user: User, server: DnsServer, pdns: Pdns) -> None:
    first, second = vm_of(user), vm_of(user, "web2")
    Record.objects.create(
        server=server, vm_id=first.pk, ip="10.77.0.99", zone="0.77.10.in-addr.arpa.",
        name="99.0.77.10.in-addr.arpa.", type="PTR", content="not a name",
    )  # fmt: skip
    # Without a look at all that shall be there, where this is not.
    DnsServer.objects.update(look_again=False, compare_at=timezone.now() + timedelta(hours=1))
    Due.objects.all().delete()
    refresh([second.pk])
    bring(server.pk)
    assert pdns.name_of(ip_of(second)) == ["web2.vm.example.org."]
    refused = Record.objects.get(content="not a name")
    assert (refused.state, open_problems()) == ("refused", {"refused"})
    assert refused.error


def test_what_is_no_name_of_an_owners_is_refused(user: User, server: DnsServer) -> None:
    vm = vm_of(user)
    no_names = ["localhost", "-a.example.org", "a_b.example.org", "a..example.org", "10.0.0.1", "ü.example.org"]
    no_names += [f"{'a' * 64}.example.org", "a b.example.org", f"{'a.' * 130}org"]
    # The panel gives those out: another VM's would be among them.
    for name in (*no_names, "web2.vm.example.org", "vm.example.org"):
        answer = call_it(user, vm, name)
        assert (answer.status_code, answer.json()["field"]) == (400, "name"), name
    assert not ReverseName.objects.exists()


def test_addresses_of_others_and_of_no_server_are_refused(admin: User, user: User, server: DnsServer) -> None:
    vm, other = vm_of(user), vm_of(admin, "web2")
    stranger = User.objects.create(name="boris", password="!")
    assert call_it(stranger, vm, "mail.example.com").status_code == 404
    assert call_it(user, vm, "mail.example.com", ip_of(other)).json()["field"] == "address"
    assert call_it(user, vm, "web1.vm.example.org").status_code == 202
    assert call_it(admin, vm, "web7.vm.example.org").status_code == 202
    DnsServer.objects.update(ranges=["192.0.2.0/24"])
    assert call_it(user, vm, "mail.example.com").json()["field"] == "address"


def test_a_change_of_settings_is_followed_and_removal_withdraws(
    api: APIClient, user: User, server: DnsServer, pdns: Pdns
) -> None:
    vm = vm_of(user)
    bring_all()
    where = f"/api/v1/dns-servers/{server.pk}"
    body = {"template": "ip-{ip}.{domain}", "ranges": ["10.77.0.0/26"], "forward": False}
    assert api.post(f"{where}/change", body, format="json").status_code == 202
    bring_all()
    ip = ip_of(vm)
    last, dashed = ip.rpartition(".")[2], ip.replace(".", "-")
    # As RFC 2317 names a zone that is smaller than a /24.
    assert pdns.look_up(f"{last}.0/26.0.77.10.in-addr.arpa", "PTR") == [f"ip-{dashed}.vm.example.org."]
    assert pdns.name_of(ip) == pdns.look_up("web1.vm.example.org", "A") == []
    told = api.get(where).json()
    assert (told["record_count"], told["late_count"], "api_key" in told, "sealed" in told) == (1, 0, False, False)
    assert [each["content"] for each in api.get(f"{where}/records").json()["results"]] == [
        f"ip-{dashed}.vm.example.org"
    ]

    assert api.post(f"{where}/remove", {}, format="json").status_code == 202
    assert api.post(f"{where}/change", body, format="json").status_code == 409
    bring_all()
    assert pdns.look_up(f"{last}.0/26.0.77.10.in-addr.arpa", "PTR") == []
    assert not DnsServer.objects.exists()


def test_the_key_is_in_no_row_of_a_task_and_in_no_answer(api: APIClient, server: DnsServer) -> None:
    tasks = [str(vars(each)) for each in Task.objects.all()] + [str(vars(each)) for each in JournalEntry.objects.all()]
    assert not [each for each in tasks if KEY in each]
    run_task(Task.objects.get())
    assert not TaskSecret.objects.exists()
    assert KEY not in api.get("/api/v1/dns-servers").content.decode()
    assert KEY.encode() not in bytes(server.sealed)


def test_a_wrong_key_is_a_problem_of_the_server_alone(server: DnsServer, api: APIClient) -> None:
    where = f"/api/v1/dns-servers/{server.pk}"
    assert api.post(f"{where}/change", {"api_key": "wrong"}, format="json").status_code == 202
    bring_all()
    server.refresh_from_db()
    assert "401" in server.error and open_problems() == {"away"}
    api.post(f"{where}/change", {"api_key": KEY}, format="json")
    bring_all()
    assert open_problems() == set()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "ns1"}, "name"),
    ({"ranges": ["10.77.0.0/16"]}, "ranges"),
    ({"ranges": ["2001:db8::/50"]}, "ranges"),
    ({"ranges": []}, "ranges"),
    ({"url": "http://user:secret@127.0.0.1"}, "url"),
    ({"url": "ftp://127.0.0.1"}, "url"),
    ({"template": "{owner}.{domain}"}, "template"),
    ({"template": "no spaces.{domain}"}, "template"),
    ({"domain": ""}, "domain"),
    ({"template": "web.example.com", "domain": "example.org"}, "forward"),
    ({"zone_nameservers": []}, "zone_nameservers"),
]


def test_settings_that_could_not_be_are_refused(api: APIClient, server: DnsServer) -> None:
    for values, field in WRONG:
        body = {**SERVER, "name": "ns2", "ranges": ["192.0.2.0/24"], "url": "http://127.0.0.1:8081", **values}
        answer = api.post("/api/v1/dns-servers", body, format="json")
        assert (answer.status_code // 100, answer.json()["field"].partition(".")[0]) == (4, field), values


def test_a_panel_without_name_servers_keeps_nothing_of_them(user: User, node: Node, image: Image) -> None:
    vm_of(user)
    assert (Due.objects.count(), Record.objects.count()) == (0, 0)
