"""What VMs are made of (images, flavors), and open problems; ISO images, pools and networks have their own modules."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api import serializers, task_serializers
from panel.api.lists import ListView, listed
from panel.api.operations import viewer_of
from panel.images.selectors import list_flavors, list_images
from panel.notices.selectors import list_problems

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


class ProblemsView(ListView):
    """Open problems."""

    serializer = task_serializers.ProblemSerializer
    newest_first = True

    def objects(self, request: Request) -> QuerySet[Any]:
        """All open problems, for those who see the cluster."""
        return list_problems(viewer_of(request))

    @listed(task_serializers.ProblemSerializer)
    def get(self, request: Request) -> Response:
        """One page of problems, the newest first."""
        return super().get(request)
