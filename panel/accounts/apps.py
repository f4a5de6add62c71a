"""Django's entry for the accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """The accounts app."""

    name = "panel.accounts"

    def ready(self) -> None:
        """Register the app's kinds of objects."""
        from panel.accounts import selectors
        from panel.core import kinds

        kinds.register(
            kinds.Kind("user", "users", "user", page="/users/{}", search=selectors.search),
            kinds.Kind("role", "roles", "role", page="/roles/{}"),
            kinds.Kind("token", "tokens", "token"),
        )
