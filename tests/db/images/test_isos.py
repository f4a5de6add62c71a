"""ISO images of users: taken as they arrive, seen by their owners alone, within limits; nothing is left behind."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError
from rest_framework.test import APIClient

from panel.accounts.limits import set_limits
from panel.accounts.models import JournalEntry, Level, User
from panel.core.errors import AlreadyExists, CapacityError, InvalidValue, LimitExceeded, WrongState
from panel.images import incoming, isos, periodic
from panel.images.models import Iso
from panel.images.selectors import iso_for
from panel.images.services import register_iso

MIB = 1024**2


def iso_file(size: int = MIB, salt: bytes = b"") -> bytes:
    """The shape of an ISO 9660 image."""
    head = bytes(isos.MAGIC_AT - 1) + b"\x01CD001\x01" + salt
    return head + bytes(size - len(head))


def send(client: APIClient, content: bytes, name: str = "installer", **query: str) -> Any:
    """The answer to an upload."""
    asked = "&".join(f"{key}={value}" for key, value in {"name": name, **query}.items())
    return client.generic("POST", f"/api/v1/isos?{asked}", content, content_type="application/octet-stream")


def bring(user: User, size: int = MIB, name: str = "installer") -> Iso:
    """An ISO image that the user has sent."""
    return isos.bring_in(user, {"name": name}, io.BytesIO(iso_file(size)), None)


def files() -> list[str]:
    """What uploads have left in their folder."""
    return sorted(path.name for path in incoming.folder().iterdir())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images for each test."""
    monkeypatch.setattr(type(settings.CONFIG), "images_dir", tmp_path)
    return tmp_path


@pytest.fixture
def other() -> User:
    """Another customer."""
    return User.objects.create(name="berta")


def test_what_a_user_sends_is_there_as_it_was_sent_and_theirs(api_as_user: APIClient, user: User) -> None:
    content = iso_file(3 * MIB + 5)
    answer = send(api_as_user, content, title="My%20installer")
    assert answer.status_code == 201, answer.content
    told = answer.json()
    assert (told["owner"], told["name"], told["title"]) == ("anna", "installer", "My installer")
    assert (told["sha256"], told["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    iso = Iso.objects.get(pk=told["id"])
    assert iso.path.read_bytes() == content and files() == [iso.path.name]
    entry = JournalEntry.objects.get(action="iso.create")
    assert (entry.user_name, entry.owner_id, entry.object_name) == ("anna", user.pk, "installer")


def test_an_administrator_s_is_there_for_all_and_a_user_s_for_nobody_else(
    api: APIClient, api_as_user: APIClient, user: User, other: User, admin: User
) -> None:
    shared, own = send(api, iso_file(), "rescue").json(), send(api_as_user, iso_file()).json()
    assert shared["owner"] is None
    stranger = APIClient()
    stranger.force_authenticate(other)
    for client, seen in (
        (api, {"rescue", "installer"}),
        (api_as_user, {"rescue", "installer"}),
        (stranger, {"rescue"}),
    ):
        assert {row["name"] for row in client.get("/api/v1/isos").json()["results"]} == seen
    for method in ("get", "patch", "delete"):
        assert getattr(stranger, method)(f"/api/v1/isos/{own['id']}").status_code == 404
        if method != "get":
            assert getattr(stranger, method)(f"/api/v1/isos/{shared['id']}").status_code == 403
    assert Iso.objects.count() == 2


def test_an_own_one_goes_before_one_of_all_of_the_same_name(user: User, other: User, admin: User) -> None:
    shared, own = bring(admin), bring(user)
    assert iso_for(user, "installer") == own
    assert iso_for(other, "installer") == iso_for(admin, "installer") == shared
    for owner in (user, admin):
        with pytest.raises(AlreadyExists):
            bring(owner)
    assert len(files()) == 2


@pytest.mark.parametrize(
    ("content", "query"),
    [
        (b"", {}),
        (b"no ISO image", {}),
        (bytes(MIB), {}),
        (iso_file()[:32769], {}),
        (iso_file(), {"name": "Not%20a%20name"}),
        (iso_file(), {"name": ""}),
        (iso_file(), {"owner": "berta"}),
    ],
)
def test_what_is_no_iso_image_is_refused_and_leaves_nothing(
    api_as_user: APIClient, content: bytes, query: dict[str, str]
) -> None:
    answer = send(api_as_user, content, **query)
    assert answer.status_code == 400 and answer.json()["field"] in ("body", "name", "owner"), answer.content
    assert files() == [] and not Iso.objects.exists()


class Endless:
    """A body that never ends; counts what was read of it."""

    def __init__(self) -> None:
        self.given = 0

    def read(self, size: int, /) -> bytes:
        """The next block."""
        block = iso_file(size) if not self.given else bytes(size)
        self.given += len(block)
        return block


class Breaking:
    """A body whose client goes away after the first block."""

    def __init__(self) -> None:
        self.blocks = [iso_file()]

    def read(self, size: int, /) -> bytes:
        """The next block; raises OSError."""
        if not self.blocks:
            raise OSError("the client is gone")
        return self.blocks.pop()


def test_a_body_is_read_no_further_than_the_limit_goes(user: User) -> None:
    set_limits(user, {"iso_mib": 3})
    body = Endless()
    with pytest.raises(LimitExceeded) as refused:
        isos.bring_in(user, {"name": "installer"}, body, None)
    assert (refused.value.data["limit"], refused.value.data["allowed"]) == ("iso_mib", 3)
    assert body.given <= 4 * MIB and files() == []


def test_what_was_announced_larger_than_the_limit_is_not_read_at_all(user: User) -> None:
    set_limits(user, {"iso_mib": 3})
    body = Endless()
    with pytest.raises(LimitExceeded):
        isos.bring_in(user, {"name": "installer"}, body, 3 * MIB + 1)
    assert body.given == 0


def test_limits_are_of_all_of_an_owner_together(user: User, admin: User) -> None:
    set_limits(user, {"iso_mib": 3, "iso_count": 2})
    set_limits(admin, {"iso_mib": 0, "iso_count": 0})
    bring(user, 2 * MIB)
    with pytest.raises(LimitExceeded) as refused:
        bring(user, MIB + 1, "second")
    assert refused.value.data["limit"] == "iso_mib"
    bring(user, MIB, "second")
    set_limits(user, {"iso_mib": None})
    with pytest.raises(LimitExceeded) as refused:
        bring(user, MIB, "third")
    assert (refused.value.data["limit"], refused.value.data["used"]) == ("iso_count", 2)
    # What is there for all counts against nobody.
    bring(admin, 2 * MIB, "third")


def test_usage_is_told_beside_the_limits(api: APIClient, user: User) -> None:
    set_limits(user, {"iso_mib": 8, "iso_count": 2})
    bring(user, MIB + 1)
    told = {row["limit"]: row for row in api.get(f"/api/v1/users/{user.pk}/limits").json()}
    assert (told["iso_count"]["used"], told["iso_count"]["allowed"]) == (1, 2)
    assert (told["iso_mib"]["used"], told["iso_mib"]["allowed"]) == (2, 8)


def test_a_limit_that_another_upload_used_up_meanwhile_holds(user: User) -> None:
    set_limits(user, {"iso_count": 1})

    class Overtaken(Endless):
        def read(self, size: int, /) -> bytes:
            if self.given:
                Iso.objects.create(owner=user, name="first", file_name="isos/first.iso", size_bytes=1)
                return b""
            return super().read(size)

    with pytest.raises(LimitExceeded):
        isos.bring_in(user, {"name": "second"}, Overtaken(), None)
    assert [iso.name for iso in Iso.objects.all()] == ["first"] and files() == []


def test_a_user_sends_one_at_a_time(user: User, other: User) -> None:
    class Meanwhile(Endless):
        def read(self, size: int, /) -> bytes:
            if not self.given:
                with pytest.raises(WrongState):
                    bring(user, name="second")
                bring(other)
                return super().read(size)
            return b""

    isos.bring_in(user, {"name": "first"}, Meanwhile(), None)
    assert {iso.name for iso in Iso.objects.filter(owner=user)} == {"first"} and len(files()) == 2
    bring(user, name="second")


@pytest.mark.parametrize("length", [None, 5 * MIB])
def test_an_upload_that_breaks_off_leaves_nothing(user: User, length: int | None) -> None:
    with pytest.raises(InvalidValue, match="broke off"):
        isos.bring_in(user, {"name": "installer"}, Breaking(), length)
    with pytest.raises(InvalidValue, match="broke off"):
        isos.bring_in(user, {"name": "installer"}, io.BytesIO(iso_file()), MIB + 1)
    assert files() == [] and not Iso.objects.exists()


def test_a_full_disk_is_refused_and_leaves_nothing(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "RESERVE_BYTES", 2**62)
    with pytest.raises(CapacityError):
        bring(user)
    assert files() == [] and not Iso.objects.exists()


def test_what_a_killed_process_left_is_deleted_and_nothing_else(user: User, other: User) -> None:
    iso = bring(user)
    folder = incoming.folder()
    (folder / "77.part").write_bytes(b"left")
    (folder / "orphan.iso").write_bytes(b"left")
    with incoming.part_of(other.pk):
        periodic.purge()
        assert files() == sorted([iso.path.name, "orphan.iso", f"{other.pk}.part"])
    assert files() == sorted([iso.path.name, "orphan.iso"])


def test_a_file_without_a_row_is_deleted_when_it_is_an_hour_old(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    iso = bring(user)
    (incoming.folder() / "orphan.iso").write_bytes(b"left")
    monkeypatch.setattr(isos, "ORPHAN_AGE", timedelta(0))
    periodic.purge()
    assert files() == [iso.path.name]


def test_a_name_and_title_are_changed_by_the_owner(api_as_user: APIClient, user: User) -> None:
    iso = bring(user)
    answer = api_as_user.patch(f"/api/v1/isos/{iso.pk}", {"name": "debian", "title": "Debian"})
    assert (answer.status_code, answer.json()["name"], answer.json()["title"]) == (200, "debian", "Debian")
    bring(user, name="other")
    for body, code in (({"name": "other"}, 409), ({"name": "No good"}, 400), ({"sha256": "0"}, 400)):
        assert api_as_user.patch(f"/api/v1/isos/{iso.pk}", body).status_code == code
    iso.refresh_from_db()
    assert iso.name == "debian" and iso.path.exists()


def test_deleting_takes_the_file_too_but_not_one_that_was_registered(
    api: APIClient, api_as_user: APIClient, user: User, folder: Path
) -> None:
    iso = bring(user)
    (folder / "rescue.iso").write_bytes(iso_file())
    registered = register_iso(folder / "rescue.iso")
    assert api_as_user.delete(f"/api/v1/isos/{iso.pk}").status_code == 204
    assert api.delete(f"/api/v1/isos/{registered.pk}").status_code == 204
    assert files() == [] and (folder / "rescue.iso").exists() and not Iso.objects.exists()
    assert JournalEntry.objects.filter(action="iso.delete", owner_id=user.pk).exists()


def test_the_owner_of_iso_images_is_not_deleted(api: APIClient, user: User) -> None:
    bring(user)
    answer = api.delete(f"/api/v1/users/{user.pk}")
    assert answer.status_code == 409 and "ISO image" in answer.json()["detail"]


def test_a_read_only_administrator_sees_all_and_brings_in_none(user: User) -> None:
    reader = APIClient()
    reader.force_authenticate(User.objects.create(name="reader", level=Level.READONLY))
    iso = bring(user)
    assert reader.get(f"/api/v1/isos/{iso.pk}").json()["owner"] == "anna"
    assert send(reader, iso_file()).status_code == 403 and len(files()) == 1


def test_the_database_keeps_names_of_all_apart(admin: User) -> None:
    bring(admin)
    with pytest.raises(IntegrityError):
        Iso.objects.create(name="installer", shared_name="installer", file_name="x", size_bytes=1)
