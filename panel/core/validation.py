"""Raw input against a pydantic model, with the panel's own errors: every door's input is checked like this."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, SecretStr, ValidationError, model_validator

from panel.core.errors import InvalidValue, MissingValue

M = TypeVar("M", bound=BaseModel)


class Params(BaseModel):
    """Base of what doors hand in: unknown names are refused, text is stripped, but for secrets: their blanks count."""

    model_config = {"extra": "forbid", "str_strip_whitespace": True}

    @model_validator(mode="before")
    @classmethod
    def _keep_secrets(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {name: SecretStr(value) if cls._is_secret(name, value) else value for name, value in raw.items()}

    @classmethod
    def _is_secret(cls, name: object, value: object) -> bool:
        field = cls.model_fields.get(str(name))
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        return isinstance(value, str) and SecretStr in kinds


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
