"""The API's schema. The page over it: web/api_docs.py."""

from __future__ import annotations

import threading

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api.parameters import ApiView

_made: dict[str, HttpResponse] = {}
_making = threading.Lock()


class SchemaView(ApiView, SpectacularAPIView):
    """The OpenAPI schema. It is the same for everybody, and made once a process: it takes half a second."""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """The schema, as YAML or JSON."""
        form = str(request.accepted_renderer.media_type)
        with _making:
            if form not in _made:
                _made[form] = self._rendered(request)
        known = _made[form]
        return HttpResponse(known.content, headers=dict(known.items()))

    def _rendered(self, request: Request) -> HttpResponse:
        made: Response = super().get(request)  # type: ignore[no-untyped-call]
        whole: HttpResponse = self.finalize_response(request, made).render()
        return whole
