"""Handing messages over to the panel: one kept-alive HTTPS connection, proof by the shared secret.

The panel's certificate is pinned: it must be the very one in the file, whoever signed it and for whatever
name, so that it works with a self-signed one as with a bought one.
"""

from __future__ import annotations

import http.client
import ssl
import time
import uuid
from pathlib import Path
from typing import Dict, List, Optional
from urllib.parse import urlsplit

from vmwatch import wire

PATH = "/internal/vmwatch"
SIGNATURE_HEADER = "X-Vmwatch-Signature"
TIMEOUT_SECONDS = 10.0
NEVER_TAKEN = (400, 413)


class PanelAway(Exception):
    """The panel did not take the messages; they must be kept and sent again."""


class PanelRefused(Exception):
    """The panel will never take these messages; they must not be sent again."""


class PanelClient:
    """Posts batches of message bodies. The panel's certificate must be the one in `certificate`."""

    def __init__(self, url: str, certificate: str, secret: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 443
        self.secret = secret
        self.certificate = certificate
        # The comparison in _connect() is stricter than the checks that are left out here.
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self._connection: Optional[http.client.HTTPSConnection] = None

    def deliver(self, bodies: List[bytes], waited: List[float]) -> None:
        """Have the panel take these message bodies, in this order; raises PanelAway, PanelRefused.

        `waited` are the seconds that each was held. None at all says that the master is there. The panel
        takes a batch wholly or not at all, and knows messages that it was given before.
        """
        # Their proof was checked and they were read: they are JSON, and need not be read once more.
        seconds = b",".join(b"%.3f" % each for each in waited)
        content = b'{"time":%.6f,"messages":[%b],"waited":[%b]}' % (time.time(), b",".join(bodies), seconds)
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
            self._connection = self._connect()
        self._connection.request("POST", PATH, content, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status == 200:
            return
        text = f"HTTP {response.status}: {answer[:200].decode(errors='replace')}"
        if response.status in NEVER_TAKEN:
            raise PanelRefused(text)
        raise http.client.HTTPException(text)

    def _connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_SECONDS, context=self.context)
        connection.connect()
        try:
            # Read each time, since a certificate is renewed now and then.
            text = Path(self.certificate).read_text(encoding="ascii")
            first = text[text.index(ssl.PEM_HEADER) : text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
            if connection.sock.getpeercert(binary_form=True) != ssl.PEM_cert_to_DER_cert(first):
                raise OSError(f"the certificate of {self.host}:{self.port} is not the one in {self.certificate}")
        except ValueError as error:
            connection.close()
            raise OSError(f"{self.certificate} holds no certificate") from error
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Drop the connection; the next delivery makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
