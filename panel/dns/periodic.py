"""What a worker does for name servers in every sweep: one query, unless there is something to be done."""

from __future__ import annotations

import logging
import threading

from django.db import DatabaseError, connection

from panel.dns.bringing import bring_all, due_servers
from panel.dns.models import Due

log = logging.getLogger(__name__)
_at_work = threading.Lock()


def bring_what_is_due() -> None:
    """Have a thread bring servers to what they shall have, where one is due; a slow server holds up no sweep."""
    if (Due.objects.exists() or due_servers().exists()) and _at_work.acquire(blocking=False):
        threading.Thread(target=_work, name="dns", daemon=True).start()


def _work() -> None:
    try:
        bring_all()
    except DatabaseError as error:
        log.warning("records for name servers cannot be looked at: %s", error)
    except Exception:
        log.exception("bringing name servers to what they shall have broke; it is tried again")
    finally:
        connection.close()
        _at_work.release()
