"""A billing module like those written for VMmanager 5: forms to one address, XML back, `task` asked until all ended."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from typing import Any

import httpx

ENDED = ("done", "failed", "cancelled", "stuck")


class ClassicClient:
    """Calls of the classic API in the name of whoever `api` is signed in as."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api
        self.url = api.base_url.copy_with(path="/vmmgr")

    def call(self, func: str, **params: Any) -> ET.Element:
        """The answer's document; an error is none."""
        answer = self.api.post(self.url, data={"func": func, "out": "xml", **params})
        assert answer.status_code == 200, answer.text
        doc = ET.fromstring(answer.text)
        assert doc.find("error") is None, answer.text
        return doc

    def rows(self, func: str, **params: Any) -> list[dict[str, str]]:
        """The rows of a list."""
        return [{cell.tag: cell.text or "" for cell in elem} for elem in self.call(func, **params).iter("elem")]

    def vm(self, vm_id: str) -> dict[str, str] | None:
        """The VM's row in the list."""
        return next((row for row in self.rows("vm") if row["id"] == vm_id), None)

    def wait(self, vm_id: str, seconds: float = 300.0) -> None:
        """Until no task of the VM is under way; none of them failed."""
        limit = time.monotonic() + seconds
        while True:
            tasks = [row for row in self.rows("task", p_cnt="50") if row["objectid"] == vm_id]
            if all(row["status"] in ENDED for row in tasks):
                assert {row["status"] for row in tasks} == {"done"}, tasks
                return
            assert time.monotonic() < limit, tasks
            time.sleep(0.5)
