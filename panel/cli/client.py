"""The REST API as the command line uses it, and the file that remembers where it is."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from typing import Any

import click
import httpx


class Refused(Exception):
    """The panel refused; `body` is its problem answer."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        field = f" [{body['field']}]" if body.get("field") else ""
        super().__init__(f"{body.get('detail', 'refused')}{field}")


class Panel:
    """One panel. The certificate is always checked: against `certificate` if given, else the system's authorities."""

    def __init__(self, url: str, token: str, certificate: str | None = None) -> None:
        if not url.startswith("https://"):
            raise click.ClickException(f"{url} is not an https:// address; nothing was sent.")
        try:
            context = ssl.create_default_context(cafile=certificate or None)
        except OSError as error:
            raise click.ClickException(f"The certificate {certificate} cannot be read: {error}.") from error
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=f"{url.rstrip('/')}/api/v1/", headers=headers, verify=context, timeout=30)

    def get(self, path: str, **params: Any) -> Any:
        """What is there; raises Refused."""
        return self._answer(self.http.get(path, params=params))

    def post(self, path: str, body: dict[str, Any], params: dict[str, Any] | None = None) -> Any:
        """Ask for something; raises Refused."""
        return self._answer(self.http.post(path, json=body, params=params))

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        """Change something; raises Refused."""
        return self._answer(self.http.patch(path, json=body))

    def delete(self, path: str) -> Any:
        """Delete something; raises Refused."""
        return self._answer(self.http.delete(path))

    def classic(self, params: dict[str, str]) -> str:
        """The document that the classic API answers; raises Refused for an answer that is none."""
        response = self.http.post(str(self.http.base_url.join("/vmmgr")), data=params)
        if response.status_code != httpx.codes.OK:
            text = f"{response.url} answers {response.status_code}, and not as a panel."
            raise Refused({"code": "not_a_panel", "detail": text})
        return response.text

    def every(self, path: str, **asked: Any) -> list[dict[str, Any]]:
        """All objects of a list, page by page; those that `asked`, parameters of the list, leaves."""
        found: list[dict[str, Any]] = []
        page = self.get(path, limit=200, **asked)
        while True:
            found += page["results"]
            if not page["next"]:
                return found
            page = self._answer(self.http.get(page["next"]))

    def find(self, path: str, target: str) -> dict[str, Any]:
        """An object by its id or its name; raises Refused."""
        if target.isdigit():
            found: dict[str, Any] = self.get(f"{path}/{target}")
            return found
        named: list[dict[str, Any]] = self.get(path, name=target)["results"]
        if not named:
            raise Refused({"code": "not_found", "detail": f"There is no “{target}”."})
        return named[0]

    @staticmethod
    def _answer(response: httpx.Response) -> Any:
        try:
            body = response.json() if response.content else {}
        except ValueError:
            raise Refused(
                {"code": "not_a_panel", "detail": f"{response.url} answers {response.status_code}, and not as a panel."}
            ) from None
        if response.is_error:
            raise Refused(body)
        return body


def login_file() -> Path:
    """Where the panel that one signed in to is remembered."""
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "vmpanel" / "login.json"


def save_login(url: str, token: str, certificate: str | None) -> Path:
    """Remember a panel, for this account of the machine alone."""
    path = login_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    values = {"url": url, "token": token, "certificate": str(Path(certificate).resolve()) if certificate else None}
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def connect() -> Panel:
    """The panel of VMPANEL_URL, VMPANEL_TOKEN and VMPANEL_CERTIFICATE, else the one that one signed in to."""
    if url := os.environ.get("VMPANEL_URL"):
        return Panel(url, os.environ.get("VMPANEL_TOKEN", ""), os.environ.get("VMPANEL_CERTIFICATE"))
    try:
        return Panel(**json.loads(login_file().read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise click.ClickException("Sign in first: vmpanel login https://PANEL:1500") from None
