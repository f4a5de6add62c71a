"""manage.py sync_directory: disable the users who are gone from the LDAP directory, refresh the others."""

from __future__ import annotations

import json
from typing import Any

import ldap
from django.core.management.base import BaseCommand, CommandError

from panel.accounts import directory


class Command(BaseCommand):
    """Prints how many were seen, changed and gone, as JSON."""

    help = "Bring the directory's users up to date: whoever is gone from it is disabled."

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError while the directory is away; then nobody is disabled."""
        if not directory.is_configured():
            raise CommandError("There is no directory: LdapUri is empty.")
        try:
            counts = directory.synchronize()
        except ldap.LDAPError as error:
            raise CommandError(f"The directory does not answer: {error}") from error
        self.stdout.write(json.dumps(counts))
