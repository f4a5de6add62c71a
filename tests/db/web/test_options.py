"""The page of all options: each with its value, its default and its source, what waits for a restart, and no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from panel import config
from panel.accounts.models import Level, User
from panel.core import wording
from panel.options import OPTIONS
from panel.web.options_page import GROUPS
from tests.db.web.test_cluster_pages import text
from tests.db.web.test_pages import signed_in

FILE = "RetrySeconds=17\nLdapBindPassword=hunter2\nRedisUrl=redis://:s3cret@127.0.0.1/0\nWebhookNetworks=10.0.0.0/8\n"


def row(page: str, name: str) -> str:
    return page.partition(f'id="option-{name}"')[2].partition("</tr>")[0]


def test_every_option_stands_in_one_group() -> None:
    for option in OPTIONS:
        assert sum(option.name.startswith(tuple(names.split())) for _title, names in GROUPS) == 1, option.name


def test_every_option_is_explained_in_russian_too() -> None:
    with wording.read_in("ru"):
        assert [each.name for each in OPTIONS if wording.translated(each.help) == each.help] == []


def test_an_option_tells_its_value_its_source_and_what_waits(
    admin: User, api: APIClient, tmp_path: Path, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "vmpanel.conf"
    file.write_text(FILE)
    in_force: Any = settings.CONFIG
    for name, value in vars(config.load(str(file))).items():
        if not name.startswith(("database", "redis", "var_dir", "log_dir")):
            monkeypatch.setattr(in_force, name, value)
    client = signed_in(admin)
    page = text(client, "/options")
    assert all(row(page, option.name) for option in OPTIONS)
    assert "<code>17</code>" in row(page, "RetrySeconds") and "<code>300</code>" in row(page, "RetrySeconds")
    assert "file" in row(page, "RetrySeconds") and "default" in row(page, "SweepSeconds")
    assert "after a restart" in row(page, "RetrySeconds") and "at once" in row(page, "ShutdownSeconds")
    assert "10.0.0.0/8" in row(page, "WebhookNetworks")
    assert "hunter2" not in page and "s3cret" not in page and "••••••" in row(page, "LdapBindPassword")
    by_rest = {each["name"]: each for each in api.get("/api/v1/options").json()}
    retry = by_rest["RetrySeconds"]
    assert (retry["value"], retry["default"], retry["source"], retry["restart"]) == ("17", "300", "file", True)
    assert by_rest["LdapBindPassword"]["value"] == "••••••" and "s3cret" not in by_rest["RedisUrl"]["value"]
    file.write_text(FILE.replace("17", "18") + "ShutdownSeconds=5\n")
    page = text(client, "/options")
    waiting = page.partition("wait for a restart")[2].partition("</ul>")[0]
    assert "RetrySeconds</code>: 18" in waiting and "ShutdownSeconds" not in waiting
    assert "<code>5</code>" in row(page, "ShutdownSeconds")
    file.write_text("RetrySeconds=soon\n")
    assert "RetrySeconds" in text(client, "/options").partition("cannot be taken over")[2].partition("</p>")[0]


def test_options_are_for_who_may_change_settings(user: User) -> None:
    for viewer in (user, User.objects.create_user("boris", "x", level=Level.ADMIN)):
        text(signed_in(viewer), "/options", 404)
