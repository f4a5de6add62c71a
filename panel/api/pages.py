"""The interactive page of the API, from files that the panel serves itself."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


@login_required
def docs(request: HttpRequest) -> HttpResponse:
    """Swagger UI over the schema."""
    return render(request, "api_docs.html")
