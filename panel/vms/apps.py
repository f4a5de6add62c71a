"""Django's entry for the vms app."""

from django.apps import AppConfig


class VmsConfig(AppConfig):
    """The vms app: tells the task engine of VMs and of what can be done with them."""

    name = "panel.vms"

    def ready(self) -> None:
        """Register the app's subject and operations."""
        from panel.cluster import parts
        from panel.tasks import registry, subjects
        from panel.vms import operations, saved, selectors, under_way
        from panel.vms.node_part import PART

        subjects.register(
            subjects.Subject(
                "vm",
                find=selectors.find_bare_vm,
                owner=lambda vm: vm.owner,
                node_id=lambda vm: vm.node_id,
                refuse=under_way.refuse,
                refuse_at_turn=under_way.refuse_at_turn,
                warning=saved.warning_of,
            )
        )
        registry.register(*operations.ALL)
        parts.register("vms", PART)
