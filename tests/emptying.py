"""How the database is emptied after a test: the tables that have rows, and no more.

Django's own way empties every table and then makes its content types and permissions again, which takes
several times as long as most tests of ours.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test import TransactionTestCase

KEPT = {"django_migrations", "django_content_type", "auth_permission"}
"""Written by migrations, never by a test."""


def empty_database(_case: Any = None) -> None:
    """Delete all rows but those of KEPT."""
    with connection.cursor() as cursor:
        tables = [name for name in connection.introspection.django_table_names(only_existing=True) if name not in KEPT]
        quoted = [connection.ops.quote_name(name) for name in tables]
        cursor.execute("SELECT " + ", ".join(f"EXISTS(SELECT 1 FROM {name})" for name in quoted))
        filled = [name for name, has_rows in zip(quoted, cursor.fetchone(), strict=True) if has_rows]
        cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
        for name in filled:
            cursor.execute(f"DELETE FROM {name}")
        cursor.execute("SET FOREIGN_KEY_CHECKS = 1")


def install() -> None:
    """Have Django's tests empty the database like this."""
    TransactionTestCase._fixture_teardown = empty_database  # type: ignore[attr-defined]
