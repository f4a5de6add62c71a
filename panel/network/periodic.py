"""Cron's entries of the network app."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from panel.network.models import Network
from panel.network.services import let_go


def purge() -> None:
    """Free the addresses that have waited long enough, and end the reservations that are over."""
    now = timezone.now()
    over = Q(addresses__waits_until__lte=now) | Q(addresses__reserved=True, addresses__expires_at__lte=now)
    for network_id in list(Network.objects.filter(over).values_list("pk", flat=True).distinct()):
        with transaction.atomic():
            for network in Network.objects.select_for_update().filter(pk=network_id):
                let_go(network)
