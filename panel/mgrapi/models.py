"""Sessions of the classic API. Only a hash of a session's id is kept."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class ClassicSession(models.Model):
    """Who signed in by `func=auth`, from where. `proof` changes with the user's password, which so ends the session."""

    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    address = models.GenericIPAddressField()
    proof = models.CharField(max_length=128)
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField(db_index=True)
    handed_over_at = models.DateTimeField(null=True)
    """When a browser was signed in by it, which it does once."""

    def __str__(self) -> str:
        return f"session of {self.user_id} from {self.address}"
