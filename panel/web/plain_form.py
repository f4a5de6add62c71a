"""Forms of pages that are no operation's, and the dialogs that show them.

A dialog is fetched (GET) and posted to the same address: what is wrong is answered with 422 and told at its field; what
was done closes it, and the page's live regions are read anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from panel.accounts.models import User
from panel.cluster.redaction import Redaction
from panel.core.errors import PanelError
from panel.web.operation_form import style
from panel.web.rendering import refused, say, viewer_of

LOST = _("This is lost for good:")
Done = HttpResponse | str
"""What came of a form: an answer of its own, or the sentence that the page then says."""


class PlainForm(forms.Form):
    """A form in Bootstrap's clothes, which tells a service's refusal at its field."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            style(field)

    def tell(self, error: PanelError, viewer: User) -> None:
        """Say why it is refused, at the field or, of one that is not shown, above all of them."""
        told = Redaction(viewer).error(error)
        # A limit of an account is told as “limits.vms”.
        name = (told.field or "").rpartition(".")[2]
        shown = name in self.fields and not self[name].is_hidden
        self.add_error(name if shown else None, told.message)


def password_field(label: Any, *, new: bool = False, **options: Any) -> forms.CharField:
    """A field for a password, which browsers fill in or offer to keep."""
    kind = "new-password" if new else "current-password"
    return forms.CharField(
        label=label, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": kind}), **options
    )


def submit(request: HttpRequest, form: PlainForm, do: Callable[[dict[str, Any]], Done]) -> HttpResponse | None:
    """Do what the form asks for; None where it is not right, of which the form then tells."""
    if not form.is_valid():
        return None
    try:
        done = do(form.cleaned_data)
    except PanelError as error:
        form.tell(error, viewer_of(request))
        return None
    return changed(say(HttpResponse(status=204), done) if isinstance(done, str) else done)


def dialog(
    request: HttpRequest,
    form: PlainForm,
    do: Callable[[dict[str, Any]], Done],
    *,
    template: str = "dialog_form.html",
    **context: Any,
) -> HttpResponse:
    """The dialog of a form, or what came of it. Its template wants `title` and `button`; `lead` is said first."""
    posted = request.method == "POST"
    if posted and (done := submit(request, form, do)) is not None:
        return done
    viewer = viewer_of(request)
    both = {"viewer": viewer, "redaction": Redaction(viewer)}
    made = {"form": form, "address": request.get_full_path(), **both, **context}
    return render(request, template, made, status=422 if posted else 200)


def question(
    request: HttpRequest,
    do: Callable[[], Done],
    *,
    lost: Sequence[str] = (),
    lost_title: Any = LOST,
    danger: bool = True,
    **context: Any,
) -> HttpResponse:
    """The dialog (GET) of what cannot be taken back and has no form, naming what is `lost`; or the deed (POST)."""
    form = PlainForm(request.POST if request.method == "POST" else None)
    told = {"lost": lost, "lost_title": lost_title, "danger": danger, **context}
    return dialog(request, form, lambda values: do(), template="dialog_question.html", **told)


def deed(request: HttpRequest, do: Callable[[], Done]) -> HttpResponse:
    """Do what a button asks for that has no form."""
    try:
        done = do()
    except PanelError as error:
        told = Redaction(viewer_of(request)).error(error)
        return refused(told.message, told.status)
    return changed(say(HttpResponse(status=204), done) if isinstance(done, str) else done)


def changed(response: HttpResponse) -> HttpResponse:
    """Have the page that gets the response read its live regions anew."""
    events = json.loads(response.headers.get("HX-Trigger", "{}"))
    response.headers["HX-Trigger"] = json.dumps({**events, "changed": ""})
    return response


def lead_to(address: str) -> HttpResponse:
    """Have the page that gets the response go elsewhere."""
    return HttpResponse(status=204, headers={"HX-Redirect": address})
