"""The API's schema. The page over it: web/api_docs.py."""

from __future__ import annotations

import gzip
import json
import threading

from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from panel.api.parameters import ApiView

_made: dict[str, tuple[HttpResponse, bytes]] = {}
_making = threading.Lock()


class SchemaView(ApiView, SpectacularAPIView):
    """The OpenAPI schema. It is the same for everybody, and made once a process: it takes half a second."""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """The schema, as YAML or JSON."""
        form = str(request.accepted_renderer.media_type)
        with _making:
            if form not in _made:
                made = self._rendered(request)
                _made[form] = made, gzip.compress(made.content, 9)
        known, packed = _made[form]
        headers = dict(known.items())
        takes_gzip = "gzip" in request.headers.get("Accept-Encoding", "")
        if takes_gzip:
            headers["Content-Encoding"] = "gzip"
        response = HttpResponse(packed if takes_gzip else known.content, headers=headers)
        patch_vary_headers(response, ["Accept-Encoding"])
        return response

    def _rendered(self, request: Request) -> HttpResponse:
        made: Response = super().get(request)  # type: ignore[no-untyped-call]
        whole: HttpResponse = self.finalize_response(request, made).render()
        if "json" in whole.headers["Content-Type"]:
            # Indented it is three times as long, and half as long again when it is compressed.
            whole.content = json.dumps(json.loads(whole.content), separators=(",", ":"), ensure_ascii=False).encode()
        return whole
