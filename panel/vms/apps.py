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
        from panel.network.security import find_security_group
        from panel.tasks import registry, worker
        from panel.vms import addresses, gathering, operations, saved, security, selectors, under_way
        from panel.vms.node_part import PART

        worker.on_sweep(security.watch_members)
        kinds.register(
            kinds.Kind(
                "security-group",
                "security-groups",
                "security group",
                find=find_security_group,
                owner=lambda group: group.owner,
                remove="security-group.remove",
                topic_right="vms.view",
                owned=True,
                lock_order=15,
            ),
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
            ),
        )
        registry.register(*operations.ALL)
        parts.register("vms", PART)
        users.tell_users_by(addresses.users_of)
