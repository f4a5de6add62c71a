"""What VMs are made of: images and flavors. ISO images, pools and networks have their own modules."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api import serializers
from panel.api.lists import ListView, listed
from panel.api.operations import viewer_of
from panel.images.selectors import list_flavors, list_images

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
