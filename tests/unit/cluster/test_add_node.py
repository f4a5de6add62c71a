"""How a host is to be reached, as it is asked for."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from panel.cluster.operations.add import AddNodeParams
from panel.core.validation import Params, parse

HOST = {"name": " one ", "address": " one.example.com "}


def test_blanks_at_a_password_s_ends_count_and_those_of_a_name_do_not() -> None:
    asked = parse(AddNodeParams, {**HOST, "password": " o pen\t"})
    assert asked.password is not None
    assert (asked.password.get_secret_value(), asked.name, asked.address) == (" o pen\t", "one", "one.example.com")


def test_no_secret_of_any_form_is_changed_and_its_limits_hold() -> None:
    class Form(Params):
        one: SecretStr
        other: SecretStr | None = None

    form = Form.model_validate({"one": " a ", "other": "b\n"})
    assert form.other is not None
    assert (form.one.get_secret_value(), form.other.get_secret_value()) == (" a ", "b\n")
    with pytest.raises(ValidationError):
        Form.model_validate({"one": 5})
