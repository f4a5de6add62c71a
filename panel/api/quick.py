"""Serializers that read many objects quickly: what DRF finds out anew of each field of each object is found out once.

What is told is the same, field by field. A short way have kinds of fields whose values pass through as they are, and
those with a function `told_in` of the context and the value; all others go DRF's.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model
from rest_framework import serializers

M = TypeVar("M", bound=Model)
Reader = Callable[[Any], Any]
AS_THEY_ARE: Mapping[type[serializers.Field[Any, Any, Any, Any]], type | tuple[type, ...]] = {
    serializers.CharField: str,
    serializers.ChoiceField: str,
    serializers.IntegerField: int,
    serializers.BigIntegerField: int,
    serializers.BooleanField: bool,
    serializers.FloatField: float,
    serializers.JSONField: object,
}
"""Kinds of fields that tell a value of this type as it is."""


class QuickSerializer(serializers.ModelSerializer[M]):
    """Reads as ModelSerializer does; `only` are the fields to tell, None for all."""

    only: frozenset[str] | None = None

    def to_representation(self, instance: M) -> dict[str, Any]:
        """The object's fields."""
        plan = _plan(type(self))
        told: dict[str, Any] = {}
        fields = plan.fields
        if self.only is None:
            told = dict.fromkeys(plan.names)
            told.update(zip(plan.columns, plan.columns_of(instance), strict=False))
            fields = plan.others
        for name, read, words in fields:
            if self.only is None or name in self.only:
                told[name] = self._slowly(name, instance) if read is None else words(self, read(instance))
        return told

    def _slowly(self, name: str, instance: M) -> Any:
        field = self.fields[name]
        value = field.get_attribute(instance)
        return None if value is None else field.to_representation(value)


Words = Callable[[Any, Any], Any]
"""How a value is told: of the serializer and the value."""


@dataclass(frozen=True)
class _Plan:
    """Of each field its name, how it is read (None: DRF's way), and how its value is told.

    `columns` are told as the database has them, so all of them are read at once; `others` are the rest.
    """

    fields: list[tuple[str, Reader | None, Words]]
    columns: tuple[str, ...]
    columns_of: Callable[[Any], tuple[Any, ...]]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all fields, in their order."""
        return tuple(name for name, _, _ in self.fields)

    @cached_property
    def others(self) -> list[tuple[str, Reader | None, Words]]:
        """What is no column."""
        return [each for each in self.fields if each[0] not in self.columns]


@lru_cache(maxsize=64)
def _plan(kind: type[QuickSerializer[Any]]) -> _Plan:
    fields = {name: field for name, field in kind().fields.items() if not field.write_only}
    model: type[Model] = kind.Meta.model
    stored = {each.attname for each in model._meta.concrete_fields}
    sources = {name: str(field.source) for name, field in fields.items() if type(field) in AS_THEY_ARE}
    columns = {name: source for name, source in sources.items() if source in stored}
    # Two more names, as attrgetter tells the value of one alone bare.
    columns_of = operator.attrgetter(*columns.values(), "pk", "pk")
    return _Plan([(name, *_way(name, field)) for name, field in fields.items()], tuple(columns), columns_of)


def _way(name: str, field: serializers.Field[Any, Any, Any, Any]) -> tuple[Reader | None, Words]:
    source = field.source or ""
    if isinstance(field, serializers.SerializerMethodField):
        method = field.method_name
        return (lambda instance: instance), lambda serializer, value: getattr(serializer, method)(value)
    if isinstance(field, serializers.ListSerializer) and isinstance(field.child, QuickSerializer):
        return _reader(source), _many(source, type(field.child))
    kind = type(field)
    if told_in := getattr(kind, "told_in", None):
        return _reader(source), lambda serializer, value: told_in(serializer.context, value)
    if isinstance(field, serializers.ListField) and type(field.child) in AS_THEY_ARE:
        return _reader(source), _all_as_they_are(name, AS_THEY_ARE[type(field.child)])
    if kind in AS_THEY_ARE:
        return _reader(source), _as_it_is(name, AS_THEY_ARE[kind])
    if kind is serializers.DateTimeField:
        return _reader(source), _time
    if kind is serializers.UUIDField:
        return _reader(source), lambda _, value: None if value is None else str(value)
    return None, lambda _, value: value


def _reader(source: str) -> Reader:
    """Reads an attribute, or one of another object; None where that is none."""
    first, _, second = source.partition(".")
    if not second:
        return operator.attrgetter(first)

    def read(instance: Any) -> Any:
        try:
            other = getattr(instance, first)
        except ObjectDoesNotExist:
            return None
        return None if other is None else getattr(other, second)

    return read


def _as_it_is(name: str, kind: type | tuple[type, ...]) -> Words:
    def words(serializer: Any, value: Any) -> Any:
        if value is None or isinstance(value, kind):
            return value
        return serializer.fields[name].to_representation(value)

    return words


def _all_as_they_are(name: str, kind: type | tuple[type, ...]) -> Words:
    def words(serializer: Any, value: Any) -> Any:
        if value is None or (isinstance(value, list) and all(isinstance(each, kind) for each in value)):
            return value
        return serializer.fields[name].to_representation(value)

    return words


def _many(name: str, child: type[QuickSerializer[Any]]) -> Words:
    def words(serializer: Any, value: Any) -> Any:
        # One for all objects of the list.
        made = serializer.__dict__.setdefault("_inner", {})
        if name not in made:
            made[name] = child(context=serializer.context)
        return [made[name].to_representation(each) for each in (value.all() if hasattr(value, "all") else value)]

    return words


def _time(_: Any, value: datetime | None) -> str | None:
    if value is None:
        return None
    return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
