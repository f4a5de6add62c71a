"""How a person lets the panel in to a host: its address, and a password or a private key that is used once."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, SecretStr, model_validator

from panel.cluster import ssh
from panel.tasks.operation import Params

ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,253}[A-Za-z0-9])?\Z")


def _check_address(value: str | None) -> str | None:
    if value is not None and not ADDRESS.match(value):
        raise ValueError("must be a host name or an IP address")
    return value


def _check_key(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        ssh.parse_key(value.get_secret_value())
    return value


HostAddress = Annotated[str, AfterValidator(_check_address)]
OtherAddress = Annotated[str | None, AfterValidator(_check_address)]
PrivateKey = Annotated[SecretStr | None, AfterValidator(_check_key)]
"""A private key's text, which ssh can read."""


class WayInParams(Params):
    """What lets the panel in is one thing. Who inherits has `password` and `key`."""

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        given: Any = self
        if given.password is not None and given.key is not None:
            raise ValueError("give a password or a key, not both")
        return self
