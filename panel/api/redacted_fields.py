"""Fields of what is told to those who may not know nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core.wording import Text


def redaction_of(context: Mapping[str, Any]) -> Redaction:
    """What is between the nodes and the viewer of what is made; a customer's where nobody says who that is."""
    return context.get("redaction") or Redaction(User())


class _Redacted(serializers.Field[Any, Any, Any, Any]):
    """Passes what it tells through the `redaction` of the context; without one, as through a customer's."""

    def to_representation(self, value: Any) -> Any:
        """The value, as the viewer may see it."""
        told = super().to_representation(value)
        redaction = redaction_of(self.context)
        return redaction.data(told)


class NodeNameField(serializers.CharField):
    """A node's name; null for who may not see nodes."""

    def to_representation(self, value: Any) -> str | None:  # type: ignore[override]
        """The name, if the viewer may see it."""
        return self.told_in(self.context, super().to_representation(value))

    @staticmethod
    def told_in(context: Mapping[str, Any], name: str) -> str | None:
        """The same, for quick.py."""
        redaction = redaction_of(context)
        return None if redaction.is_on else name


class WordedField(serializers.Field[Any, Any, Any, Any]):
    """A sentence, made of a Text in the reader's language; without nodes for who may not know them."""

    def to_representation(self, value: Text) -> str:
        """The sentence."""
        redaction = redaction_of(self.context)
        return redaction.shown(value)


class ResultField(serializers.JSONField):
    """A task's result: values that may name nodes, and sentences."""

    def to_representation(self, value: Any) -> Any:
        """The result, as the viewer may see it."""
        redaction = redaction_of(self.context)
        return redaction.result(super().to_representation(value))


class RedactedField(_Redacted, serializers.JSONField):
    """Values that may name nodes."""
