"""What counts once counts once, however many ask for it at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pyotp
import pytest
import redis
from django.conf import settings
from django.db import connection

from panel.accounts import recovery, second_factor, signin_keys, totp
from panel.accounts.models import User
from panel.core.errors import BadCredentials, PanelError, SecondFactorRequired
from panel.webhooks import services as webhooks
from panel.webhooks.models import Webhook

AT_ONCE = 8


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """No wrong code of an earlier test counts."""
    redis.Redis.from_url(settings.CONFIG.redis_url).flushall()


def at_once(ask: Callable[[], object], refusal: type[PanelError]) -> int:
    """Ask AT_ONCE times together; answers how many were let in. The others meet `refusal`, and nobody anything else."""
    together = threading.Barrier(AT_ONCE)
    told: list[object] = []

    def one() -> None:
        # The connection is there before all begin.
        connection.ensure_connection()
        together.wait(timeout=30)
        try:
            ask()
            told.append(True)
        except Exception as error:
            told.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(told) == AT_ONCE
    refused = [each for each in told if each is not True]
    assert all(isinstance(each, refusal) for each in refused), refused
    return AT_ONCE - len(refused)


@pytest.fixture
def enrolled(user: User) -> tuple[str, list[str]]:
    """The secret of the customer's app, and their recovery codes."""
    secret = totp.enrol(user).secret
    app = pyotp.TOTP(secret)
    codes = totp.confirm(user, app.now())
    user.totp.refresh_from_db()
    # The code of the confirmation is used up: as if it had been the one before.
    user.totp.last_step -= 1
    user.totp.save()
    return secret, codes


def test_a_code_of_the_app_lets_one_in(user: User, enrolled: tuple[str, list[str]]) -> None:
    code = pyotp.TOTP(enrolled[0]).now()
    assert at_once(lambda: second_factor.require_code(user, code), SecondFactorRequired) == 1


def test_a_recovery_code_lets_one_in(user: User, enrolled: tuple[str, list[str]]) -> None:
    assert at_once(lambda: second_factor.require_code(user, enrolled[1][0]), SecondFactorRequired) == 1
    assert recovery.left(user) == recovery.CODES - 1


def test_a_sign_in_key_lets_one_in(user: User, admin: User) -> None:
    key = signin_keys.issue(admin, user)
    assert at_once(lambda: signin_keys.redeem(key), BadCredentials) == 1


def test_a_second_factor_is_confirmed_once_and_its_recovery_codes_are_those_that_were_told(user: User) -> None:
    code = pyotp.TOTP(totp.enrol(user).secret).now()
    told: list[list[str]] = []
    assert at_once(lambda: told.append(totp.confirm(user, code)), PanelError) == 1
    assert recovery.left(user) == len(told[0]) == recovery.CODES


def test_the_last_webhook_that_is_allowed_is_made_once(user: User) -> None:
    values = {"url": "https://billing.example/hook"}
    for _ in range(webhooks.MOST - 1):
        webhooks.create_webhook(user, values)
    assert at_once(lambda: webhooks.create_webhook(User.objects.get(pk=user.pk), values), PanelError) == 1
    assert Webhook.objects.count() == webhooks.MOST
