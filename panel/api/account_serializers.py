"""Users, roles, tokens and the journal as the REST API shows them; their changes are checked by the accounts app."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from panel.accounts.limits import LIMITS
from panel.accounts.models import JournalEntry, Level, Limits, Role, Token, User
from panel.api.reading import Strict
from panel.api.redacted_fields import RedactedField, redaction_of
from panel.core import wording
from panel.tasks import deeds


class LimitsSerializer(serializers.ModelSerializer[Limits]):
    """What an account may have at most; null is without limit."""

    class Meta:
        model = Limits
        fields = list(LIMITS)
        extra_kwargs = {name: {"required": False} for name in LIMITS}


class AccountSerializer(serializers.ModelSerializer[User]):
    """A user, as those see it who see users."""

    password = serializers.CharField(write_only=True, required=False)
    level = serializers.ChoiceField(choices=Level.choices, required=False)
    role = serializers.CharField(source="role.name", default="", required=False)
    language = serializers.ChoiceField(choices=["", *wording.LANGUAGES], required=False)
    limits = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = [
            "id",
            "name",
            "email",
            "level",
            "role",
            "may_create_vms",
            "is_active",
            "created_at",
            "language",
            "time_zone",
            "limits",
            "password",
        ]
        read_only_fields = ["is_active", "created_at"]

    def get_limits(self, user: User) -> dict[str, int | None]:
        """The limits, each a number or null."""
        limits = getattr(user, "limits", None) or Limits()
        return {name: getattr(limits, name) for name in LIMITS}


class AccountValuesSerializer(AccountSerializer):
    """What a user is made of; `limits` that are not named stay, and `role` "" takes the role away."""

    role = serializers.CharField(required=False, allow_blank=True)
    limits = LimitsSerializer(required=False)  # type: ignore[assignment]

    class Meta(AccountSerializer.Meta):
        fields = ["name", "email", "level", "role", "may_create_vms", "language", "time_zone", "limits", "password"]


class RoleSerializer(serializers.ModelSerializer[Role]):
    """A role. `withheld` are operations that it does not let in though their right is there; absent: as they were."""

    rights = serializers.ListField(child=serializers.CharField())
    withheld = serializers.ListField(child=serializers.CharField(), required=False)

    class Meta:
        model = Role
        fields = ["id", "name", "level", "rights", "withheld"]


class TokenSerializer(Strict, serializers.ModelSerializer[Token]):
    """A token; its text is shown once, when it is made."""

    rights = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=100, allow_null=True, required=False
    )
    addresses = serializers.ListField(child=serializers.CharField(max_length=64), max_length=50, required=False)

    class Meta:
        model = Token
        fields = ["id", "name", "rights", "addresses", "created_at", "expires_at", "last_used_at", "last_used_from"]
        read_only_fields = ["created_at", "last_used_at", "last_used_from"]


class NewTokenSerializer(TokenSerializer):
    """A token that was just made, with its text."""

    token = serializers.CharField(read_only=True)

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "token"]


class JournalSerializer(serializers.ModelSerializer[JournalEntry]):
    """An entry of the journal."""

    before: Any = RedactedField()
    after: Any = RedactedField()
    text = serializers.SerializerMethodField()
    opened_by = serializers.CharField(source="impersonated_by", read_only=True)

    class Meta:
        model = JournalEntry
        fields = [
            "id",
            "at",
            "user_id",
            "user_name",
            "opened_by",
            "action",
            "text",
            "object_type",
            "object_id",
            "object_name",
            "door",
            "address",
            "request_id",
            "task_id",
            "before",
            "after",
        ]
        read_only_fields = fields

    def get_text(self, entry: JournalEntry) -> str:
        """What was done, as a sentence in the reader's language; `action` stays."""
        return redaction_of(self.context).shown(deeds.worded(entry))
