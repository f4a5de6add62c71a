"""PowerDNS by its HTTP API. Paths of zones are those that it tells of: it writes some characters of names anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx

from panel.core.texts import one_line
from panel.core.wording import Text
from panel.dns.names import canonical

SERVER = "/api/v1/servers/localhost"
CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 15.0
LONGEST_WORD = 150
AWAY = (401, 403, 429)
"""What it says of every request alike, as what fails in it (5xx)."""
NOT_FOUND = 404
NO_POWERDNS = "It answers as no PowerDNS does."
SetKey = tuple[str, str]
"""Name and type of a set of records."""


class ServerAway(Exception):
    """There is no working with the server just now; `text` says why."""

    def __init__(self, text: Text) -> None:
        super().__init__(text.english)
        self.text = text


class Refused(Exception):
    """The server does not take what it was given; `text` says why."""

    def __init__(self, text: Text) -> None:
        super().__init__(text.english)
        self.text = text


class PowerDns:
    """One conversation with a server."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.Client(headers={"X-API-Key": key}, timeout=timeout, trust_env=False)

    def __enter__(self) -> PowerDns:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def zones(self) -> dict[str, str]:
        """All its zones: the path of each by its name."""
        found = self._ask("GET", f"{SERVER}/zones")
        try:
            return {str(each["name"]).lower(): str(each["url"]) for each in found}
        except (TypeError, KeyError):
            raise ServerAway(Text(NO_POWERDNS)) from None

    def make_zone(self, name: str, nameservers: Sequence[str]) -> str:
        """A new zone; answers its path."""
        body = {
            "name": name,
            "kind": "Native",
            "nameservers": [f"{each}." for each in nameservers],
            "api_rectify": True,
        }
        return str(self._ask("POST", f"{SERVER}/zones", body)["url"])

    def record_sets(self, zone: str, name: str | None = None) -> dict[SetKey, list[str]]:
        """What the zone has, or (of servers that can say so alone) has of a name; also what is switched off."""
        asked = {"rrset_name": name} if name is not None else {}
        found = self._ask("GET", zone, params=asked)
        return {
            (str(each["name"]).lower(), str(each["type"])): [
                canonical(record["content"], each["type"]) for record in each["records"]
            ]
            for each in found["rrsets"]
        }

    def replace(self, zone: str, sets: Mapping[SetKey, Sequence[str]], ttl: int) -> None:
        """Have exactly these contents in these sets; nothing in a set is the end of it. All of them or none."""
        rrsets = [
            {
                "name": name,
                "type": kind,
                "changetype": "REPLACE" if contents else "DELETE",
                **(
                    {"ttl": ttl, "records": [{"content": each, "disabled": False} for each in contents]}
                    if contents
                    else {}
                ),
            }
            for (name, kind), contents in sets.items()
        ]
        self._ask("PATCH", zone, {"rrsets": rrsets})

    def _ask(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        try:
            answer = self._http.request(method, f"{self._url}{path}", json=body, params=params)
        except httpx.HTTPError as error:
            raise ServerAway(Text("It cannot be reached: {error}", {"error": _short(error)})) from error
        told = _read(answer)
        if answer.is_success and (told is not None or not answer.content):
            return told
        if answer.is_success or (answer.status_code == NOT_FOUND and told is None):
            raise ServerAway(Text(NO_POWERDNS))
        said = told.get("error", "") if isinstance(told, dict) else answer.reason_phrase
        text = Text("It answers {status}: {said}", {"status": answer.status_code, "said": _short(said)})
        raise (ServerAway if answer.status_code in AWAY or answer.is_server_error else Refused)(text)


def _read(answer: httpx.Response) -> Any:
    """What it says; None where that is no JSON."""
    try:
        return answer.json()
    except ValueError:
        return None


def _short(said: object) -> str:
    return one_line(str(said))[:LONGEST_WORD] or type(said).__name__
