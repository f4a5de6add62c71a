"""Django's entry for the web app."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    """The web app."""

    name = "panel.web"

    def ready(self) -> None:
        """Tell sign-in keys what pages there are, and templates their catalogues."""
        from panel.accounts.selectors import get_user
        from panel.accounts.signin_keys import find_by
        from panel.core import reader
        from panel.tasks.selectors import get_task
        from panel.vms.selectors import get_vm

        reader.install()
        find_by("vm_id", get_vm)
        find_by("task_id", get_task)
        find_by("user_id", get_user)
