"""Handing messages over to the panel: one kept-alive HTTPS connection, proof by the shared secret."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import uuid
from typing import Dict, List, Optional
from urllib.parse import urlsplit

from vmwatch import wire

PATH = "/internal/vmwatch"
SIGNATURE_HEADER = "X-Vmwatch-Signature"
TIMEOUT_SECONDS = 10.0


class PanelAway(Exception):
    """The panel did not take the messages; they must be kept and sent again."""


class PanelClient:
    """Posts batches of message bodies. The panel's certificate must be the one in `certificate`."""

    def __init__(self, url: str, certificate: str, secret: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 443
        self.secret = secret
        self.context = ssl.create_default_context(cafile=certificate)
        self._connection: Optional[http.client.HTTPSConnection] = None

    def deliver(self, bodies: List[bytes]) -> None:
        """Have the panel take these message bodies, in this order; raises PanelAway.

        The panel takes a batch wholly or not at all, and knows messages that it was given before.
        """
        envelope = {"time": time.time(), "messages": [json.loads(body) for body in bodies]}
        content = json.dumps(envelope, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: wire.sign(content, self.secret),
            "X-Request-Id": f"vmwatch-{uuid.uuid4().hex[:12]}",
        }
        reused = self._connection is not None
        try:
            try:
                self._post(content, headers)
            except (OSError, http.client.HTTPException):
                # The panel closes connections that were idle; that is no reason to wait.
                if not reused:
                    raise
                self.close()
                self._post(content, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise PanelAway(str(error) or type(error).__name__) from error

    def _post(self, content: bytes, headers: Dict[str, str]) -> None:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self.host, self.port, timeout=TIMEOUT_SECONDS, context=self.context
            )
        self._connection.request("POST", PATH, content, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise http.client.HTTPException(f"HTTP {response.status}: {answer[:200].decode(errors='replace')}")

    def close(self) -> None:
        """Drop the connection; the next delivery makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
