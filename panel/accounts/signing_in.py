"""Signing in by what a person knows, the same for REST and the classic API.

Above all that an account is: backend.py knows passwords, directory.py those of a directory, second_factor.py the codes.
"""

from __future__ import annotations

from django.contrib.auth import authenticate
from django.http import HttpRequest

from panel.accounts import second_factor
from panel.accounts.models import User
from panel.core.errors import BadCredentials


def sign_in(request: HttpRequest, name: str, password: str, code: str | None = None) -> User:
    """The user with this name and password, and a code of the second factor where the account has one.

    Raises BadCredentials, the same for every reason, and SecondFactorRequired once the password is right.
    """
    user = authenticate(request, username=name, password=password)
    if not isinstance(user, User):
        raise BadCredentials("The name or the password is wrong.")
    second_factor.require_code(user, code)
    return user
