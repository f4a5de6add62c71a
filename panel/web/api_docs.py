"""The page of the API: Swagger UI over its schema, from files that the panel serves itself."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse

from panel.web.rendering import page


@login_required
def docs(request: HttpRequest) -> HttpResponse:
    """Swagger UI in the panel's frame."""
    return page(request, "api_docs.html")
