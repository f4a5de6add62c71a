"""The one-time password of a console, and what it shows."""

from __future__ import annotations

import base64
import time
from datetime import datetime, timezone

from nodeagent import libvirtd, pictures
from nodeagent.commands import handles
from nodeagent.commands.hosts import find, state_of
from nodeagent.errors import CommandFailed, GuestStopped, InvalidParams
from nodeagent.job import Job
from nodeagent.protocol import host
from nodeagent.xml.domain import Domain

VNC_PASSWORD_LENGTH = 8
"""VNC's challenge uses no more of a password (RFC 6143, 7.2.2)."""

LARGEST_PICTURE = 64 * 1024 * 1024


@handles(host.ConsoleOpen)
def console_open(request: host.ConsoleOpen, job: Job) -> host.Console:
    """Let one password in, for a short time."""
    if len(request.password) != VNC_PASSWORD_LENGTH:
        raise InvalidParams("A console's password has 8 characters.", field="password")
    libvirt = libvirtd.bindings()
    expires = time.time() + request.valid_seconds
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if not domain.isActive():
            raise GuestStopped("The VM does not run.", state="shut off")
        graphics = next(iter(Domain.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)).graphics), None)
        if graphics is None:
            raise InvalidParams("The domain has no console.", field="uuid")
        graphics.password = request.password
        graphics.password_valid_to = datetime.fromtimestamp(expires, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        domain.updateDeviceFlags(graphics.to_xml(), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        port = state_of(domain).vnc_port
    if port is None:
        raise InvalidParams("The domain's console does not listen on a port.", field="uuid")
    return host.Console(port=port, expires=expires)


@handles(host.HostPicture)
def host_picture(request: host.HostPicture, job: Job) -> host.Picture:
    """What the domain's screen shows."""
    with libvirtd.translated() as conn:
        domain = find(conn, request.uuid)
        if not domain.isActive():
            raise GuestStopped("The VM does not run.", state="shut off")
        stream = conn.newStream(0)
        domain.screenshot(stream, 0, 0)
        picture = b""
        while block := stream.recv(262144):
            picture += block
            if len(picture) > LARGEST_PICTURE:
                stream.abort()
                raise CommandFailed("The screen's picture is too large.", argv0="libvirt", exit_code=0)
        stream.finish()
    return host.Picture(png=base64.b64encode(pictures.as_png(picture)).decode("ascii"))
