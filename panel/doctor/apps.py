"""Django's entry for the doctor."""

from django.apps import AppConfig


class DoctorConfig(AppConfig):
    """The doctor: no tables of its own, one operation."""

    name = "panel.doctor"

    def ready(self) -> None:
        """Register the operation and the kind of object that it is about."""
        from panel.doctor import operations
        from panel.doctor.operations.examine import SUBJECT
        from panel.tasks import registry, subjects

        subjects.register(SUBJECT)
        registry.register(*operations.ALL)
