"""Django's entry for the doctor."""

from django.apps import AppConfig


class DoctorConfig(AppConfig):
    """The doctor: no tables of its own, one operation."""

    name = "panel.doctor"

    def ready(self) -> None:
        """Register the operation."""
        from panel.doctor import operations
        from panel.tasks import registry

        registry.register(*operations.ALL)
