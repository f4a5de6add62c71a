"""Rows of the database made into objects with little work: for what each request reads, and reads many of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from typing import Any, Generic, Self, TypeVar

from django.db import connections, models
from django.db.models.base import ModelState
from django.db.models.query import ModelIterable, QuerySet
from django.db.models.sql.compiler import SQLCompiler

M = TypeVar("M", bound=models.Model)


class QuickModel(models.Model):
    """A model whose rows become objects without the work of Model.__init__: no signals, no descriptors of fields.

    `from_db` is the documented place for that (Django's reference of model instances, “Customizing model loading”).
    """

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any]) -> Self:  # type: ignore[override]
        """The object of a row; a field that is not among the names is read once it is asked for."""
        made = cls.__new__(cls)
        made._state = state = ModelState()
        state.adding, state.db = False, db
        made.__dict__.update(zip(field_names, values, strict=True))
        return made


class Prepared(Generic[M]):
    """A query whose SQL is made once, as making it costs Django several times what the database needs to answer.

    `make` is given an example that no other value in the query is equal to, and what is asked for stands in its place
    afterwards: a text, a number, or a list of one number (then numbers are asked for, and all of them found).
    """

    def __init__(self, make: Callable[[Any], QuerySet[M]], example: str | int | list[int]) -> None:
        self._make, self._example = make, example
        self._made: tuple[QuerySet[M], SQLCompiler, str, tuple[Any, ...]] | None = None

    def rows(self, value: Any) -> list[M]:
        """The objects, in the query's order."""
        if isinstance(self._example, list) and not value:
            return []
        return list(self._iterate(value))

    def first(self, value: Any) -> M | None:
        """The first of them, None where there is none."""
        found = self.rows(value)
        return found[0] if found else None

    def _iterate(self, value: Any) -> Iterator[M]:
        queryset, compiler, sql, params = self._made = self._made or self._prepare()
        example = self._needle
        asked = tuple(value if each == example else each for each in params)
        frozen = copy.copy(compiler)
        frozen.connection = connections[queryset.db]
        frozen.as_sql = lambda *_, **__: (sql, asked)  # type: ignore[method-assign]
        prepared: Any = queryset.all()
        prepared._query = _Frozen(frozen)
        return iter(ModelIterable(prepared))

    @property
    def _needle(self) -> str | int:
        return self._example[0] if isinstance(self._example, list) else self._example

    def _prepare(self) -> tuple[QuerySet[M], SQLCompiler, str, tuple[Any, ...]]:
        queryset = self._make(self._example)
        compiler = queryset.query.get_compiler(using=queryset.db)
        sql, params = compiler.as_sql()
        if isinstance(self._example, list):
            sql = sql.replace("IN (%s)", "IN %s")
        assert tuple(params).count(self._needle) == 1, "the example stands in the query once"
        return queryset, compiler, sql, tuple(params)


class _Frozen:
    """What ModelIterable asks of a query: its compiler."""

    def __init__(self, compiler: SQLCompiler) -> None:
        self._compiler = compiler

    def get_compiler(self, using: str | None = None, connection: Any = None, elide_empty: bool = True) -> SQLCompiler:
        """The one that is ready."""
        return self._compiler
