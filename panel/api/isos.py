"""ISO images over REST: those of all and one's own; brought in as the body of a call (streaming.py)."""

from __future__ import annotations

import time
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api.authentication import caller_now
from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described, guarded
from panel.api.preconditions import IF_MATCH
from panel.api.reading import body_of, created, viewer_of
from panel.api.serializers import IsoSerializer
from panel.api.streaming import AnyBody, length_of
from panel.api.streaming import body_of as streamed_body_of
from panel.core.live import ASK_SECONDS
from panel.images import isos
from panel.images.incoming import Stream
from panel.images.models import Iso
from panel.images.selectors import get_iso, list_isos

BY_NAME = ("id", "name")
FILE = {"application/octet-stream": {"type": "string", "format": "binary"}}
NAME = OpenApiParameter(
    "name", {"type": "string", "pattern": r"^[a-z0-9][a-z0-9.-]{0,63}$"}, required=True, description="Its name."
)
TITLE = OpenApiParameter("title", {"type": "string", "maxLength": 128}, description="What people read; else its name.")


class StillAllowed:
    """A body that ends with its sender's token, session or account: it may take hours."""

    def __init__(self, body: Stream, request: HttpRequest) -> None:
        self.body, self.request = body, request
        self.asked_at = time.monotonic()

    def read(self, size: int, /) -> bytes:
        """The next bytes, none at the end; raises BadCredentials."""
        data = self.body.read(size)
        if time.monotonic() - self.asked_at >= ASK_SECONDS:
            caller_now(self.request)
            self.asked_at = time.monotonic()
        return data


class IsosView(ListView):
    """ISO images."""

    serializer = IsoSerializer
    filters = {"name": "name", "owner": "owner__name"}
    orders = BY_NAME

    def objects(self, request: Request) -> QuerySet[Any]:
        """The ISO images that the viewer may see."""
        return list_isos(viewer_of(request))

    def get_parsers(self) -> list[BaseParser]:
        """A new one's body is its file."""
        return [AnyBody()]

    @listed(IsoSerializer, *filters, orders=BY_NAME)
    def get(self, request: Request) -> Response:
        """One page of ISO images: those of all, and one's own."""
        return super().get(request)

    @extend_schema(request=FILE, responses={201: IsoSerializer}, parameters=[NAME, TITLE])
    def post(self, request: Request) -> Response:
        """Bring in an ISO image: the body is the file. An administrator's is there for all, a user's is their own."""
        viewer = viewer_of(request)
        asked = {name: value for name, value in request.query_params.items() if name != "format"}
        body = StillAllowed(streamed_body_of(request), request._request)
        iso = isos.bring_in(viewer, asked, body, length_of(request))
        return created(IsoSerializer(iso).data, f"isos/{iso.pk}")


KINDS["iso"] = Kind(Iso, IsoSerializer, get_iso)


class IsoView(ObjectView):
    """One ISO image."""

    kind = "iso"

    @described(IsoSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The ISO image."""
        return super().get(request, object_id)

    @extend_schema(request=IsoSerializer, responses=IsoSerializer, parameters=[IF_MATCH])
    @guarded("iso")
    def patch(self, request: Request, object_id: int) -> Response:
        """Change its name or title."""
        viewer = viewer_of(request)
        return Response(IsoSerializer(isos.change_iso(viewer, get_iso(viewer, object_id), body_of(request))).data)

    @extend_schema(request=None, responses={204: None}, parameters=[IF_MATCH])
    @guarded("iso")
    def delete(self, request: Request, object_id: int) -> Response:
        """Delete it; refused while a VM has it in its drive."""
        viewer = viewer_of(request)
        isos.delete_iso(viewer, get_iso(viewer, object_id))
        return Response(status=204)
