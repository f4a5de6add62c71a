"""The page of ISO images, and the choice of one for a new VM."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from panel.accounts.limits import set_limits
from panel.accounts.models import Level, User
from panel.images.models import Image, Iso
from tests.db.images.test_isos import bring, iso_file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images for each test."""
    monkeypatch.setattr(type(settings.CONFIG), "images_dir", tmp_path)
    return tmp_path


def signed_in(user: User, **options: bool) -> Client:
    """A browser of the user's."""
    client = Client(**options)
    client.force_login(user)
    return client


def text(client: Client, path: str) -> str:
    """The page."""
    answer = client.get(path, secure=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_everybody_sees_what_is_of_all_and_their_own_and_may_delete_what_is_theirs(user: User, admin: User) -> None:
    shared, own = bring(admin, name="rescue"), bring(user)
    bring(User.objects.create(name="berta"), name="bertas")
    set_limits(user, {"iso_count": 3, "iso_mib": 8})
    page = text(signed_in(user), "/isos")
    assert "rescue" in page and "installer" in page and "bertas" not in page
    assert "1 of 3" in page and "1 of 8" in page
    assert f"/isos/{own.pk}/rename" in page and f"/isos/{shared.pk}/" not in page
    assert "data-send" in page
    page = text(signed_in(admin), "/isos")
    assert page.count("/rename") == page.count("/delete") == 3 and "anna" in page
    reader = text(signed_in(User.objects.create(name="reader", level=Level.READONLY)), "/isos")
    assert "data-send" not in reader and "/delete" not in reader and "bertas" in reader


def test_what_is_ones_own_is_renamed_and_deleted_and_nothing_else(user: User, admin: User) -> None:
    shared, own, hidden = bring(admin, name="rescue"), bring(user), bring(User.objects.create(name="berta"))
    client = signed_in(user)

    def post(path: str, **values: str) -> int:
        return client.post(f"/isos/{path}", values, secure=True).status_code

    assert post(f"{own.pk}/rename", name="No name") == 422 and post(f"{own.pk}/rename", name="mine", title="T") == 204
    assert Iso.objects.get(pk=own.pk).name == "mine"
    assert post(f"{shared.pk}/rename", name="mine2") == 422 and post(f"{shared.pk}/delete") == 422
    assert post(f"{hidden.pk}/rename", name="x") == post(f"{hidden.pk}/delete") == 404
    assert post(f"{own.pk}/delete") == 204 and not Iso.objects.filter(pk=own.pk).exists()


def test_the_page_makes_the_same_queries_for_few_and_many(admin: User, user: User) -> None:
    client = signed_in(admin)
    bring(user)
    text(client, "/isos")
    with CaptureQueriesContext(connection) as few:
        text(client, "/isos")
    Iso.objects.bulk_create(Iso(owner=user, name=f"i{n}", file_name="x", size_bytes=1) for n in range(5))
    with CaptureQueriesContext(connection) as many:
        text(client, "/isos")
    assert len(few) == len(many)


def test_the_page_s_script_sends_with_the_session_and_its_token_alone(user: User) -> None:
    client = signed_in(user, enforce_csrf_checks=True)
    client.get("/isos", secure=True)
    token = {"X-CSRFToken": client.cookies["csrftoken"].value, "Referer": "https://testserver/isos"}
    for headers, status in (({}, 403), (token, 201)):
        answer = client.post(
            "/api/v1/isos?name=installer",
            iso_file(),
            content_type="application/octet-stream",
            secure=True,
            headers=headers,
        )
        assert answer.status_code == status, answer.content
    assert Iso.objects.get().owner == user


def test_a_new_vm_can_be_made_from_an_iso_image(user: User, admin: User, image: Image) -> None:
    assert "Install it from an ISO image" not in text(signed_in(user), "/vms/new")
    bring(admin, name="rescue"), bring(user), bring(admin)
    page = text(signed_in(user), "/vms/new")
    assert page.count('name="iso"') == 2 and 'value="rescue"' in page and 'value="small"' in page
