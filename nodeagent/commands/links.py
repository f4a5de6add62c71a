"""Bonds and VLANs of the host: made, confirmed, removed."""

from __future__ import annotations

from nodeagent import host_links
from nodeagent.commands import handles
from nodeagent.job import Job
from nodeagent.protocol import Nothing, links


@handles(links.LinkEnsure)
def link_ensure(request: links.LinkEnsure, job: Job) -> links.LinkMade:
    """Have the interface."""
    return host_links.ensure(request, job)


@handles(links.LinkConfirm)
def link_confirm(request: links.LinkConfirm, job: Job) -> Nothing:
    """Have it stay."""
    host_links.confirm(request.name)
    return Nothing()


@handles(links.LinkRemove)
def link_remove(request: links.LinkRemove, job: Job) -> Nothing:
    """Have it no more."""
    host_links.remove(request.name, job)
    return Nothing()
