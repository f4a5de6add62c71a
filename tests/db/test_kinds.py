"""Every kind of object is known in one table, and what it says of a kind is so."""

from __future__ import annotations

import pytest
from django.urls import resolve

from panel.accounts.models import User
from panel.api.urls import urlpatterns
from panel.cli.verbs import PLURALS
from panel.core import kinds
from panel.core.permissions import RIGHTS
from panel.tasks import registry


@pytest.mark.parametrize("kind", kinds.every(), ids=lambda kind: kind.name)
def test_a_kind_has_its_path_in_rest_and_its_page(kind: kinds.Kind) -> None:
    paths = {str(each.pattern).split("/")[0] for each in urlpatterns}
    assert kind.plural in paths
    if kind.page:
        resolve(kind.page.format(1))
    assert not kind.remove or registry.get(kind.remove).object_type == kind.name
    assert not kind.topic_right or kind.topic_right in RIGHTS
    assert kind.topic_right or not kind.owned


def test_what_operations_lock_and_are_about_is_a_kind() -> None:
    for operation in registry.every():
        assert kinds.find(operation.object_type) is not None
        assert all(kinds.get(lock.kind).lock_order is not None for lock in operation.locks)


def test_no_two_kinds_have_one_place_in_the_order_of_locks() -> None:
    places = [kind.lock_order for kind in kinds.every() if kind.lock_order is not None]
    assert len(places) == len(set(places))


def test_the_command_line_names_kinds_as_rest_does() -> None:
    assert {name: kind.plural for name, plural in PLURALS.items() if (kind := kinds.find(name))} == {
        name: plural for name, plural in PLURALS.items() if kinds.find(name)
    }


def test_a_kind_of_a_plug_in_is_one_registration(monkeypatch: pytest.MonkeyPatch, admin: User) -> None:
    monkeypatch.setattr(kinds, "_kinds", dict(kinds._kinds))
    kinds.register(kinds.Kind("license", "licenses", "license", page="/licenses/{}", topic_right="cluster.view"))
    assert kinds.page_of("license", 7) == "/licenses/7" and kinds.page_of("license", None) == ""
    assert "license" in kinds.topics()
    with pytest.raises(ValueError, match="there already"):
        kinds.register(kinds.Kind("licence", "licenses", "licence"))


def test_an_object_of_a_kind_that_is_gone_has_no_page() -> None:
    assert kinds.page_of("licence", 7) == ""
