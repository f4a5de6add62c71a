"""What the OpenAPI schema tells beyond the views' own words: problems, headers, and names for generators.

drf-spectacular reads the views; complete() then adds what is true of every call, in one place.
"""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from drf_spectacular.openapi import AutoSchema

VERBS = {"GET": "get", "POST": "create", "PUT": "replace", "PATCH": "change", "DELETE": "delete"}
PROBLEM_TYPE = "application/problem+json"
PREFIX = "/api/v1/"
WORDS = {
    "400": "The request is wrong; `field` names what.",
    "401": "No valid token or session.",
    "403": "The right to do this is missing, or a limit would be passed.",
    "404": "There is no such object, or it is another's.",
    "409": "It cannot be done now: the object is held, in another state, exists already, or there is no room.",
    "412": "The object is not any more what the caller has read (`If-Match`).",
    "413": "The body is too large.",
    "415": "The body is no JSON.",
    "429": "Too many calls; `Retry-After` says when to come again.",
    "503": "The database does not answer.",
}
PROBLEM = {
    "type": "object",
    "description": "A problem (RFC 9457). More fields may tell more, as `candidates` or `task`.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence that a person can act on."},
        "instance": {"type": "string", "description": "The address that was called."},
        "code": {"type": "string", "description": "What is wrong, for programs; never changes its meaning."},
        "field": {"type": ["string", "null"], "description": "The input that is wrong."},
        "request_id": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "additionalProperties": True,
}
HEADERS = {
    "RequestId": {"schema": {"type": "string"}, "required": True, "description": "Stands in the panel's log too."},
    "ETag": {"schema": {"type": "string"}, "required": True, "description": "For `If-Match` and `If-None-Match`."},
    "Location": {
        "schema": {"type": "string"},
        "required": True,
        "description": "Where the task, or what was made, is.",
    },
    "Replayed": {
        "schema": {"const": "true"},
        "description": "The same call was answered before: nothing was done now.",
    },
    "RetryAfter": {"schema": {"type": "integer"}, "required": True, "description": "Seconds."},
}


EVENTS = {
    "operationId": "event_stream",
    "summary": "Live events",
    "description": "What the caller may see, as Server-Sent Events, from now on or after `Last-Event-ID`. The answer "
    "does not end. The event `reset` says that some were lost: read everything anew.",
    "tags": ["events"],
    "security": [{"token": []}, {"cookieAuth": []}],
    "parameters": [
        {"in": "query", "name": "topics", "schema": {"type": "string"}, "description": "Of vm, task, node, problem."},
        {"in": "header", "name": "Last-Event-ID", "schema": {"type": "string", "pattern": r"^\d{1,20}-\d{1,20}$"}},
    ],
    "responses": {
        "200": {"description": "Events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
    },
}
"""The one call that is no view of DRF's (events.py)."""


class Schema(AutoSchema):
    """Names calls as people would: `vm_list`, `vm_get`, `task_cancel`, `user_change`."""

    def get_operation_id(self) -> str:
        """From the path and the method; a view's own name goes before."""
        parts = [each for each in self.path.removeprefix(PREFIX).split("/") if each]
        words = [each for each in parts if not each.startswith("{")]
        words[0] = singular(words[0])
        if parts[-1].startswith("{") or len(words) == 1:
            words.append(VERBS[self.method])
        return "_".join(words).replace("-", "_")


def singular(word: str) -> str:
    """The one of many."""
    return word.removesuffix("s") if word not in ("vmwatch", "rights") else word


def complete(result: dict[str, Any], generator: Any, **_: Any) -> dict[str, Any]:
    """drf-spectacular's last hook: every call's problems and headers, and what sparse answers leave out."""
    components = result["components"]
    _mend_anything(components["schemas"])
    _join_enums(result)
    _free_requests(components["schemas"])
    components["schemas"]["ProblemDetails"] = PROBLEM
    components["headers"] = HEADERS
    components["responses"] = {f"Problem{status}": _problem(status, words) for status, words in WORDS.items()}
    result["paths"][f"{PREFIX}events"] = {"get": copy.deepcopy(EVENTS)}
    for path, methods in result["paths"].items():
        for method, call in methods.items():
            _complete_call(path, method, call, components["schemas"])
    return result


def _mend_anything(schema: Any) -> None:
    """“Anything, or null” is anything: drf-spectacular says it so that null would match twice, and be refused."""
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _mend_anything(each)
    if isinstance(schema, dict) and {} in schema.get("oneOf", []):
        del schema["oneOf"]


def _join_enums(result: dict[str, Any]) -> None:
    """One name for the same words: drf-spectacular makes `ClockEnum` of a model's choices beside pydantic's `Clock`."""
    schemas = result["components"]["schemas"]
    words = {name: sorted(map(str, each["enum"])) for name, each in schemas.items() if "enum" in each}
    named = {tuple(found): name for name, found in words.items() if not name.endswith("Enum")}
    twins = {
        name: named[tuple(found)] for name, found in words.items() if name.endswith("Enum") and tuple(found) in named
    }
    renamed = {f"#/components/schemas/{old}": f"#/components/schemas/{new}" for old, new in twins.items()}
    _rename(result, renamed)
    for old in twins:
        del schemas[old]


def _rename(value: Any, renamed: dict[str, str]) -> None:
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _rename(each, renamed)
    if isinstance(value, dict) and isinstance(value.get("$ref"), str):
        value["$ref"] = renamed.get(value["$ref"], value["$ref"])


def _free_requests(schemas: dict[str, Any]) -> None:
    """What may be left out of a request has no `default`, of which generators make a field that must be there."""
    for name, schema in schemas.items():
        for each in schema.get("properties", {}).values() if name.endswith("Request") else ():
            usual = each.pop("default", None)
            if usual is not None:
                told = f"{json.dumps(usual)} where nothing is said."
                each["description"] = f"{each['description']} {told}" if each.get("description") else told


def _problem(status: str, words: str) -> dict[str, Any]:
    headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if status in ("429", "503"):
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    content = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {"description": words, "headers": headers, "content": content}


def _complete_call(path: str, method: str, call: dict[str, Any], schemas: dict[str, Any]) -> None:
    names = {each["name"] for each in call.get("parameters", [])}
    for each in call.get("parameters", []):
        if each["in"] == "path":
            each["schema"] = {"type": "integer", "minimum": 0}
    for status, answer in call["responses"].items():
        headers = answer.setdefault("headers", {})
        headers["X-Request-Id"] = {"$ref": "#/components/headers/RequestId"}
        if "If-None-Match" in names:
            headers["ETag"] = {"$ref": "#/components/headers/ETag"}
        if method in ("patch", "put") and "If-Match" in names and status == "200":
            headers["ETag"] = {"$ref": "#/components/headers/ETag"}
        if status in ("201", "202"):
            headers["Location"] = {"$ref": "#/components/headers/Location"}
            if "Idempotency-Key" in names:
                headers["Idempotency-Replayed"] = {"$ref": "#/components/headers/Replayed"}
        if "fields" in names and status == "200":
            _make_sparse(answer["content"]["application/json"]["schema"], schemas)
    for status in _problems_of(path, method, call, names):
        call["responses"].setdefault(status, {"$ref": f"#/components/responses/Problem{status}"})


def _problems_of(path: str, method: str, call: dict[str, Any], names: set[str]) -> list[str]:
    found = ["400", "401", "403", "404", "429", "503"]
    if method != "get":
        found += ["409", "413", "415"]
    if "If-Match" in names:
        found.append("412")
    return found


def _make_sparse(schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Of an object that `fields` may thin out, only the id is sure to be told."""
    name = schema["$ref"].rpartition("/")[2]
    if re.search(r"Page$", name):
        name = schemas[name]["properties"]["results"]["items"]["$ref"].rpartition("/")[2]
    schemas[name]["required"] = ["id"]
