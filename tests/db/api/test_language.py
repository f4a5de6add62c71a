"""Errors in the language that a program asks for: REST's Accept-Language, the classic API's `lang`."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from panel.accounts import journal
from panel.accounts.models import User
from panel.cluster.models import Node
from panel.cluster.redaction import Redaction
from panel.cluster.services import report_unreachable
from panel.core import live, wording
from panel.core.errors import NodeUnreachable
from panel.core.wording import Text
from panel.notices.services import open_problem
from panel.tasks import live as tasks_live
from panel.tasks import logbook
from panel.tasks.engine import TRYING_AGAIN
from panel.tasks.models import Status, Task, TaskStep
from panel.vms.models import Cause, StatusChange, Vm, VmStatus
from panel.webhooks.collecting import collect
from panel.webhooks.models import Delivery
from tests.db.monitoring.messages import make_vm
from tests.db.web.test_pages import signed_in


@pytest.fixture
def vm(node: Node, user: User) -> Vm:
    """The customer's VM."""
    return make_vm(node, user, "web1")


def told(api: APIClient, path: str, language: str) -> Any:
    """What an address answers in a language."""
    return api.get(f"/api/v1/{path}", HTTP_ACCEPT_LANGUAGE=language)


def test_an_error_is_in_the_language_that_was_asked_for(api: APIClient, admin: User) -> None:
    answer = told(api, "vms/77", "ru-RU,en;q=0.5")
    assert answer.json()["detail"] == "Не найдено: ВМ «77»."
    assert (answer.json()["code"], answer.json()["object"]) == ("not_found", "vm")
    assert "Accept-Language" in answer.headers["Vary"]
    assert told(api, "vms/77", "fr").json()["detail"] == "There is no vm “77”."
    # The next request is another reader's; what a page's script asks is told in the page's language.
    assert api.get("/api/v1/vms/77").json()["detail"] == "There is no vm “77”."
    page = signed_in(admin).get("/api/v1/vms/77", HTTP_ACCEPT_LANGUAGE="ru", secure=True)
    assert page.json()["detail"] == "Не найдено: ВМ «77»."
    User.objects.filter(pk=admin.pk).update(language="en")
    page = signed_in(admin).get("/api/v1/vms/77", HTTP_ACCEPT_LANGUAGE="ru", secure=True)
    assert page.json()["detail"] == "There is no vm “77”."
    nobody = Client().get("/api/v1/vms", HTTP_ACCEPT_LANGUAGE="ru", secure=True)
    assert nobody.json()["code"] == "bad_credentials"


def test_a_task_s_error_is_worded_for_whoever_reads_it(
    api: APIClient, api_as_user: APIClient, admin: User, user: User
) -> None:
    error = NodeUnreachable(node="rack77", reason="?").stored()
    task = Task.objects.create(operation="vm.start", title="Start", status=Status.FAILED, error=error, owner=user)
    path = f"tasks/{task.pk}"
    assert told(api, path, "ru").json()["error"]["message"] == "Узел «rack77» недоступен: ?."
    assert told(api_as_user, path, "ru").json()["error"]["message"] == "Узел недоступен: ?."
    assert api_as_user.get(f"/api/v1/{path}").json()["error"] == {
        "code": "node_unreachable",
        "message": "The node cannot be reached: ?.",
        "reason": "?",
    }


def test_a_task_s_title_steps_and_notes_are_worded_for_whoever_reads_them(
    api: APIClient, api_as_user: APIClient, user: User
) -> None:
    task = Task.objects.create(
        operation="vm.migrate",
        title="Migrate VM web to rack77",
        title_said=Text("Migrate VM {vm} to {target_node}", {"vm": "web", "target_node": "rack77"}).as_dict(),
        owner=user,
    )
    note = Text("node {node}", {"node": "rack77"})
    TaskStep.objects.create(
        task=task,
        position=0,
        name="x",
        title="Copy the disks",
        progress_text=note.english,
        progress_said=note.as_dict(),
    )
    path = f"tasks/{task.pk}"
    assert worded(told(api, path, "ru")) == ("Перенести ВМ web на rack77", "Скопировать диски", "узел rack77")
    assert worded(told(api_as_user, path, "ru")) == ("Перенести ВМ web на узел", "Скопировать диски", "узел")
    assert worded(told(api_as_user, path, "en")) == ("Migrate VM web to a node", "Copy the disks", "node")
    assert told(api_as_user, "tasks", "ru").json()["results"][0]["title"] == "Перенести ВМ web на узел"
    classic = Client().get("/vmmgr?func=task&out=json&lang=ru&authinfo=anna:correct horse", secure=True)
    assert "Перенести ВМ web на узел" in json.dumps(classic.json(), ensure_ascii=False)
    live_one = json.loads(live.as_text("task", {**tasks_live.told(task), "owner": user.pk}))
    with wording.read_in("ru"):
        event = Redaction(user).event(live_one)
    assert event["title"] == "Перенести ВМ web на узел" and "title_said" not in event


def worded(answer: Any) -> tuple[str, str, str]:
    """The sentences of a task that has one step."""
    [step] = answer.json()["steps"]
    return answer.json()["title"], step["title"], step["progress_text"]


def test_a_task_of_an_earlier_release_keeps_its_title(api: APIClient, api_as_user: APIClient, node: Node) -> None:
    owner = User.objects.get(name="anna")
    title = f"Migrate VM web to {node.name}"
    task = Task.objects.create(operation="vm.migrate", title=title, owner=owner)
    assert told(api, f"tasks/{task.pk}", "ru").json()["title"] == title
    assert told(api_as_user, f"tasks/{task.pk}", "ru").json()["title"] == "Migrate VM web to a node"


def test_a_line_of_a_log_too(api: APIClient, api_as_user: APIClient, user: User) -> None:
    task = Task.objects.create(operation="vm.start", title="Start", status=Status.FAILED, owner=user)
    error = NodeUnreachable(node="rack77", reason="?").text
    logbook.write(task.pk, Text(TRYING_AGAIN, {"error": error, "seconds": 2}), level="warning")
    logbook.write(task.pk, "Of an earlier release: {node}.")
    lines = [each["text"] for each in told(api_as_user, f"tasks/{task.pk}/log", "ru").json()]
    assert lines == ["Узел недоступен: ?. Повтор через 2 с.", "Of an earlier release: {node}."]
    told_in_english = api.get(f"/api/v1/tasks/{task.pk}/log").json()[0]["text"]
    assert told_in_english == task.log.get(level="warning").text
    assert told_in_english == "The node “rack77” cannot be reached: ?. Trying again in 2 s."


def test_a_problem_too_whatever_release_opened_it(api: APIClient, node: Node) -> None:
    report_unreachable(node, NodeUnreachable(node=node.name, reason="no route to host").text)
    open_problem("of:before", "What an earlier release stored: {node}.")
    said = {each["key"]: each["text"] for each in told(api, "problems", "ru").json()["results"]}
    assert said == {
        f"node:{node.pk}:unreachable": f"Узел «{node.name}» недоступен: no route to host.",
        "of:before": "What an earlier release stored: {node}.",
    }
    in_english = f"The node “{node.name}” cannot be reached: no route to host."
    assert in_english in [each["text"] for each in api.get("/api/v1/problems").json()["results"]]


def test_a_vm_s_history_is_worded_and_keeps_its_words(api: APIClient, vm: Vm) -> None:
    given = [(Cause.VMWATCH, "stopped:destroyed"), (Cause.OUTSIDE, "of:another"), (Cause.TASK, "")]
    for cause, detail in given:
        StatusChange.objects.create(vm=vm, status=VmStatus.SHUT_OFF, detail=detail, at=timezone.now(), cause=cause)
    answer = told(api, f"vms/{vm.pk}/history", "ru").json()
    assert [(each["cause"], each["detail"]) for each in answer] == given[::-1]
    assert [each["text"] for each in answer] == [
        "Задача панели",
        "Сделано вне панели: of:another",
        "Замечено vmwatch: принудительно выключена",
    ]
    assert api.get(f"/api/v1/vms/{vm.pk}/history").json()[2]["text"] == "Seen by vmwatch: it was forced off"


def test_the_journal_is_worded_and_keeps_its_actions(
    api: APIClient, api_as_user: APIClient, user: User, admin: User, vm: Vm
) -> None:
    record = partial(journal.record, admin, owner_id=user.pk)
    record("token.create", "token", 1, "backup")
    record("vm.start", "vm", vm.pk, vm.name)
    record("node.check", "node", 1, "rack77")
    record("of.another", "thing", 1, "x")
    answer = told(api, "journal", "ru").json()["results"]
    assert [each["action"] for each in answer] == ["of.another", "node.check", "vm.start", "token.create"]
    said = ["of.another: x", "Проверить: узел «rack77»", f"Запустить: ВМ {vm.name}", "Создать токен backup"]
    assert [each["text"] for each in answer] == said
    theirs = [each["text"] for each in told(api_as_user, "journal", "ru").json()["results"]]
    assert theirs == [said[0], "Проверить: узел", *said[2:]]


def test_a_webhook_is_told_in_the_language_that_it_was_made_with(
    api: APIClient, api_as_user: APIClient, user: User
) -> None:
    hook = {"url": "https://billing.example/hook", "events": ["task.*"], "language": "ru"}
    made = api_as_user.post("/api/v1/webhooks", hook, format="json")
    assert (made.status_code, made.json()["language"]) == (201, "ru")
    assert api_as_user.post("/api/v1/webhooks", {**hook, "language": "xx"}, format="json").json()["field"] == "language"
    collect()
    error = NodeUnreachable(node="rack77", reason="?").stored()
    title = Text("Create VM {vm}", {"vm": "web"})
    task = Task.objects.create(
        operation="vm.create",
        title=title.english,
        title_said=title.as_dict(),
        status=Status.FAILED,
        error=error,
        owner=user,
    )
    tasks_live.task_changed(task)
    collect()
    data = Delivery.objects.get(event="task.failed").data
    assert (data["title"], data["error"]["message"]) == ("Создать ВМ web", "Узел недоступен: ?.")


def test_the_classic_api_has_a_language(client: Client) -> None:
    answer = client.get("/vmmgr?func=vm&out=xml&lang=ru", secure=True)
    assert "Войдите с действительными" in answer.content.decode()
