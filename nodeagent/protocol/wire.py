"""The shape of requests and results, and their way to and from JSON.

A request is a frozen dataclass that names its command and its result type; both sides share these
classes. Nothing here knows libvirt, Django or a transport: see session.py of the panel's cluster
room and server.py of the agent for the two ends. Runs on Python 3.9.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, Generic, Type, TypeVar, Union

PROTOCOL_VERSION = 2
"""Raised with every change that an older peer would misread; peers of different versions refuse."""

LONGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of a line that the agent says."""

T = TypeVar("T")


class BadMessage(ValueError):
    """A message does not fit its declared shape; `field` is the dotted path of what is wrong."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}" if field else text)
        self.field = field


@dataclasses.dataclass(frozen=True)
class Nothing:
    """The result of a command that has nothing to tell but its success."""


@dataclasses.dataclass(frozen=True)
class Request(Generic[T]):
    """Base of every request. Subclasses are dataclasses; their fields are the parameters."""

    COMMAND: ClassVar[str]
    RESULT: ClassVar[type]
    MUTATES: ClassVar[bool] = True
    """Whether the command changes the node; only such commands are refused for an old fence."""
    REMOVES: ClassVar[bool] = False
    """Whether all it does is to remove what another command made; what that never made is nothing to remove."""


@dataclasses.dataclass(frozen=True)
class Fence:
    """Proof that the caller still holds a task: the node refuses a number below one it has seen."""

    task: int
    number: int


REQUESTS: Dict[str, Type[Request[Any]]] = {}
"""Every request class by its command name."""


if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_options: Any) -> Callable[[Any], Any]:
        """What tells type checkers that @command makes dataclasses; Python 3.9 lacks it and needs none."""
        return lambda decorator: decorator


R = TypeVar("R", bound=Request[Any])


@dataclass_transform(frozen_default=True)
def command(cls: Type[R]) -> Type[R]:
    """Class decorator: make a frozen dataclass of a request and enter it in REQUESTS."""
    made = dataclasses.dataclass(frozen=True)(cls)
    REQUESTS[made.COMMAND] = made
    return made


def to_dict(value: Any) -> Dict[str, Any]:
    """The JSON-ready dictionary of a request, a result or a part of one."""
    return dataclasses.asdict(value)


def from_dict(cls: Type[T], data: Any, path: str = "") -> T:
    """Build `cls` from decoded JSON, checking names and types all the way down.

    Unknown keys are refused: a typing error must not silently mean the default.

    Raises BadMessage naming the field.
    """
    return typing.cast(T, _convert(cls, data, path))


def _convert(kind: Any, data: Any, path: str) -> Any:
    origin = typing.get_origin(kind)
    args = typing.get_args(kind)
    if kind is Any:
        return data
    if origin is Union:
        if data is None:
            if type(None) in args:
                return None
            raise BadMessage(path, "is missing")
        return _convert(next(arg for arg in args if arg is not type(None)), data, path)
    if origin in (list, tuple):
        if not isinstance(data, (list, tuple)):
            raise BadMessage(path, "must be a list")
        items = [_convert(args[0], item, f"{path}.{index}") for index, item in enumerate(data)]
        return items if origin is list else tuple(items)
    if origin is dict:
        if not isinstance(data, dict):
            raise BadMessage(path, "must be an object")
        return {str(key): _convert(args[1], item, f"{path}.{key}") for key, item in data.items()}
    if dataclasses.is_dataclass(kind):
        return _convert_object(kind, data, path)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise BadMessage(path, f"must be {kind.__name__}, not {type(data).__name__}")
    return data


def _convert_object(cls: Any, data: Any, path: str) -> Any:
    if not isinstance(data, dict):
        raise BadMessage(path, "must be an object")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise BadMessage(f"{path}.{key}".lstrip("."), "is not known")
    values = {}
    for name, field in fields.items():
        where = f"{path}.{name}".lstrip(".")
        if name in data:
            values[name] = _convert(hints[name], data[name], where)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise BadMessage(where, "is missing")
    return cls(**values)
