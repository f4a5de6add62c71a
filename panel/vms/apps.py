"""Django's entry for the vms app."""

from django.apps import AppConfig


class VmsConfig(AppConfig):
    """The vms app: VMs and what can be done with them, and their part on every node."""

    name = "panel.vms"

    def ready(self) -> None:
        """Register the app's kind of object, operations and part of a node."""
        from panel.cluster import parts
        from panel.core import kinds
        from panel.network import users
        from panel.tasks import registry
        from panel.vms import addresses, gathering, operations, saved, selectors, under_way
        from panel.vms.node_part import PART

        kinds.register(
            kinds.Kind(
                "vm",
                "vms",
                "VM",
                page="/vms/{}",
                remove="vm.delete",
                topic_right="vms.view",
                owned=True,
                lock_order=20,
                find=selectors.find_bare_vm,
                find_all=selectors.find_bare_vms,
                search=selectors.search,
                owner=lambda vm: vm.owner,
                node_id=lambda vm: vm.node_id,
                refuse=under_way.refuse,
                refuse_at_turn=under_way.refuse_at_turn,
                warning=saved.warning_of,
                gather=gathering.gather,
            )
        )
        registry.register(*operations.ALL)
        parts.register("vms", PART)
        users.tell_users_by(addresses.users_of)
