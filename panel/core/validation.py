"""Raw input against a pydantic model, with the panel's own errors: every door's input is checked like this."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator

from nodeagent.protocol import words
from panel.core.errors import InvalidValue, MissingValue
from panel.core.texts import is_plain, one_line
from panel.core.wording import Text

M = TypeVar("M", bound=BaseModel)
TITLES = frozenset({"title", "reason"})
"""Fields that are made one line."""
LINES = frozenset({"description"})
"""Fields that may have lines."""
NOT_PLAIN = "must be plain text, without control characters"
NUL = "must not have the character NUL, at which programs that read it would end"


class Params(BaseModel):
    """Base of what doors hand in: unknown names are refused, text is stripped and must be plain (core/texts.py).

    Secrets are taken as they are: their blanks count. NUL alone is refused.
    """

    model_config = {"extra": "forbid", "str_strip_whitespace": True}

    @model_validator(mode="before")
    @classmethod
    def _keep_secrets(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {name: SecretStr(value) if cls._is_secret(name, value) else value for name, value in raw.items()}

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        if isinstance(value, SecretStr) and "\0" in value.get_secret_value():
            raise ValueError(NUL)
        if isinstance(value, str):
            return _plain_text(value, name)
        if isinstance(value, list):
            return [_plain_text(each, name) if isinstance(each, str) else each for each in value]
        if isinstance(value, dict):
            return {key: _plain_text(each, name) if isinstance(each, str) else each for key, each in value.items()}
        return value

    @classmethod
    def _is_secret(cls, name: object, value: object) -> bool:
        field = cls.model_fields.get(str(name))
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        return isinstance(value, str) and SecretStr in kinds


def _plain_text(text: str, field: str) -> str:
    if field in TITLES:
        found = one_line(text)
    else:
        found = words.plain(text, lines=True) if field in LINES else text.strip()
    if not is_plain(found, lines=field in LINES):
        raise ValueError(NOT_PLAIN)
    return found


def plain_name(text: str, field: str = "name") -> str:
    """A name that comes by no Params, as theirs are; raises InvalidValue."""
    found = text.strip()
    if not is_plain(found):
        raise InvalidValue(
            Text("“{field}” must be plain text, without control characters.", {"field": field}), field=field
        )
    return found


def parse(model: type[M], raw: Any) -> M:
    """`raw` as the model; raises InvalidValue or MissingValue naming the field."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise _as_request_error(error) from error


def _as_request_error(error: ValidationError) -> InvalidValue | MissingValue:
    """pydantic's first complaint as ours; its `input` is left out, since it may be a secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "body"
    if first["type"] == "missing":
        return MissingValue(field=field)
    reason = first["msg"].removeprefix("Value error, ")
    return InvalidValue(f"“{field}”: {reason}.".replace("..", "."), field=field)
