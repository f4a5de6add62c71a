"""What VMs are made of: images and flavors. ISO images, pools and networks have their own modules."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api import idempotency, serializers
from panel.api.idempotency import idempotent
from panel.api.lists import ListView, listed
from panel.api.objects import KINDS, Kind, ObjectView, described, guarded
from panel.api.preconditions import IF_MATCH
from panel.api.reading import body_of, created, viewer_of
from panel.images import services
from panel.images.models import Flavor, Image
from panel.images.selectors import get_flavor, get_image, list_flavors, list_images

BY_NAME = ("id", "name")


class ImagesView(ListView):
    """OS images."""

    serializer = serializers.ImageSerializer
    filters = {"name": "name"}
    orders = BY_NAME

    def objects(self, request: Request) -> QuerySet[Any]:
        """All images."""
        return list_images(viewer_of(request))

    @listed(serializers.ImageSerializer, "name", orders=BY_NAME)
    def get(self, request: Request) -> Response:
        """One page of images."""
        return super().get(request)


KINDS["image"] = Kind(Image, serializers.ImageSerializer, get_image)


class ImageView(ObjectView):
    """One OS image."""

    kind = "image"

    @described(serializers.ImageSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The image."""
        return super().get(request, object_id)

    @extend_schema(
        request=serializers.ImageValuesSerializer, responses=serializers.ImageSerializer, parameters=[IF_MATCH]
    )
    @guarded("image")
    def patch(self, request: Request, object_id: int) -> Response:
        """Change its title, or the least memory and disk of VMs that are made of it."""
        viewer = viewer_of(request)
        image = services.change_image(viewer, get_image(viewer, object_id), body_of(request))
        return Response(serializers.ImageSerializer(image).data)


class FlavorsView(ListView):
    """Flavors."""

    serializer = serializers.FlavorSerializer
    filters = {"name": "name"}
    orders = BY_NAME

    def objects(self, request: Request) -> QuerySet[Any]:
        """All flavors."""
        return list_flavors(viewer_of(request))

    @listed(serializers.FlavorSerializer, "name", orders=BY_NAME)
    def get(self, request: Request) -> Response:
        """One page of flavors."""
        return super().get(request)

    @extend_schema(
        request=serializers.FlavorSerializer,
        responses={201: serializers.FlavorSerializer},
        parameters=[idempotency.PARAMETER],
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Make a flavor, which every user can choose."""
        flavor = services.create_flavor(viewer_of(request), body_of(request))
        return created(serializers.FlavorSerializer(flavor).data, f"flavors/{flavor.pk}")


KINDS["flavor"] = Kind(Flavor, serializers.FlavorSerializer, get_flavor)


class FlavorView(ObjectView):
    """One flavor."""

    kind = "flavor"

    @described(serializers.FlavorSerializer)
    def get(self, request: Request, object_id: int) -> Response:
        """The flavor."""
        return super().get(request, object_id)

    @extend_schema(request=serializers.FlavorSerializer, responses=serializers.FlavorSerializer, parameters=[IF_MATCH])
    @guarded("flavor")
    def patch(self, request: Request, object_id: int) -> Response:
        """Change it; VMs that exist keep their size."""
        viewer = viewer_of(request)
        flavor = services.change_flavor(viewer, get_flavor(viewer, object_id), body_of(request))
        return Response(serializers.FlavorSerializer(flavor).data)

    @extend_schema(request=None, responses={204: None}, parameters=[IF_MATCH])
    @guarded("flavor")
    def delete(self, request: Request, object_id: int) -> Response:
        """Delete it; VMs that were made of it keep their size."""
        viewer = viewer_of(request)
        services.delete_flavor(viewer, get_flavor(viewer, object_id))
        return Response(status=204)
