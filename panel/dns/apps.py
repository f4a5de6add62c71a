"""Django's entry for the dns app."""

from django.apps import AppConfig


class DnsConfig(AppConfig):
    """The dns app: name servers follow what VMs have, in every sweep."""

    name = "panel.dns"

    def ready(self) -> None:
        """Register the app's kind of object and operations, what it is told of, and what it does in every sweep."""
        from panel.core import kinds
        from panel.dns import selectors
        from panel.dns.operations import ALL
        from panel.dns.periodic import bring_what_is_due
        from panel.dns.wanted import note_due
        from panel.tasks import registry, worker
        from panel.vms import address_history

        kinds.register(
            kinds.Kind(
                "dns-server",
                "dns-servers",
                "name server",
                page="/dns-servers/{}",
                find=selectors.find_server,
                search=selectors.search,
                remove="dns-server.remove",
                topic_right="cluster.view",
            )
        )
        registry.register(*ALL)
        address_history.tell_of_changes_by(note_due)
        worker.on_sweep(bring_what_is_due)
