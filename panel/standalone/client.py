"""The panel's REST API and manage.py, as this package uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from panel.places import MANAGE
from panel.standalone.private import Unfit
from panel.standalone.setup import Layout, write_secret

START_SECONDS = 90.0
ADMINISTRATOR = "admin"
TOKEN_NAME = "script/server"


class ApiError(Exception):
    """The API refused; the text is its own sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def manage(layout: Layout, *words: str) -> str:
    """What a management command prints; raises Unfit with its last line."""
    environment = {**os.environ, "VMPANEL_CONF": str(layout.conf)}
    argv = [sys.executable, str(MANAGE), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        with (layout.log / "manage.log").open("a", encoding="utf-8") as log:
            log.write(f"{' '.join(words)}\n{done.stderr}\n")
        lines = done.stderr.strip().splitlines() or ["no reason was given"]
        raise Unfit(f"“manage.py {words[0]}” failed: {lines[-1]} (see {layout.log / 'manage.log'})")
    return done.stdout


class Api:
    """The REST API as the administrator."""

    def __init__(self, layout: Layout, port: int) -> None:
        self.layout = layout
        self.base = f"https://127.0.0.1:{port}"
        self.token_file = layout.keys / "script-server.token"
        self.http = httpx.Client(base_url=self.base, verify=_trust(layout.tls / "panel.crt"), timeout=30.0)

    def wait_until_served(self) -> None:
        """Return when the login page is served; raises Unfit."""
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.http.get("/login").status_code == 200:
                    return
                reason = "the login page fails"
            except httpx.HTTPError as error:
                reason = str(error)
            if time.monotonic() > until:
                raise Unfit(f"The panel does not serve its login page ({reason}); see {self.layout.log / 'panel.log'}.")
            time.sleep(0.1)

    def sign_in(self) -> None:
        """Have a token that the API takes, made anew when the one that was kept is no good."""
        for _ in range(2):
            if self.token_file.exists():
                token = self.token_file.read_text(encoding="ascii").strip()
                self.http.headers["Authorization"] = f"Bearer {token}"
                if self.http.get("/api/v1/me").status_code == 200:
                    return
            made = json.loads(manage(self.layout, "token_create", ADMINISTRATOR, TOKEN_NAME))
            write_secret(self.token_file, made["token"])
        raise Unfit("The panel does not take the token that it made for this script.")

    def get(self, path: str) -> Any:
        """An object or a page of a list; raises ApiError."""
        return self._answer(self.http.get(f"/api/v1{path}"))

    def list(self, path: str) -> list[dict[str, Any]]:
        """All objects of a list, page after page."""
        found: list[dict[str, Any]] = []
        page = self.get(f"{path}?limit=200")
        while True:
            if isinstance(page, list):
                return page
            found += page["results"]
            if not page.get("next"):
                return found
            page = self._answer(self.http.get(page["next"]))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What a request for something new is answered; raises ApiError."""
        return self._answer(self.http.post(f"/api/v1{path}", json=body))

    def _answer(self, response: httpx.Response) -> Any:
        if response.is_success:
            return response.json()
        try:
            told = response.json()
            error = told.get("error", told)
            text = error.get("message") or error.get("detail") or json.dumps(told)
        except (ValueError, AttributeError):
            text = f"the panel answered {response.status_code}"
        raise ApiError(response.status_code, str(text))


def _trust(certificate: Path) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(certificate))
