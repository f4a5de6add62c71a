"""One's own profile: what is shown of it, and the dialogs that change it.

What signs somebody in is its user's alone: while an administrator works in the account the services refuse it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from panel.accounts import recovery, second_factor, security_keys, services, sessions, tokens, totp
from panel.accounts.models import SshKey, Token, User
from panel.cluster.redaction import Redaction
from panel.core.errors import PanelError
from panel.web import agents, own_forms, rights
from panel.web.plain_form import Done, deed, dialog, question, submit
from panel.web.rendering import page, refused, viewer_of
from panel.webhooks.selectors import webhooks_of

LONGEST_KEY = 60
"""Of a public key, in characters."""
MOST_DIGITS = 19
SIGNED_OUT = gettext_lazy("These are signed out:")


@login_required
def profile(request: HttpRequest) -> HttpResponse:
    """What the viewer may change of their own account."""
    viewer = viewer_of(request)
    return page(
        request,
        "profile.html",
        regions={"profile": "_profile.html"},
        keys=SshKey.objects.filter(user=viewer).order_by("name")[: sessions.MOST],
        tokens=Token.objects.filter(user=viewer).order_by("-pk")[: sessions.MOST],
        sessions=listed_sessions(viewer, request),
        language=dict(own_forms.LANGUAGES).get(viewer.language, ""),
        totp_on=totp.is_on(viewer),
        security_keys=security_keys.keys_of(viewer),
        keys_possible=security_keys.is_configured(),
        codes_left=recovery.left(viewer),
        own=not request.session.get("impersonated_by"),
    )


def listed_sessions(user: User, request: HttpRequest) -> list[dict[str, Any]]:
    """The user's sessions with what their browsers are called; the one that asks is marked."""
    return [
        {"row": each, "browser": agents.name_of(each.agent), "current": sessions.is_current(request, each)}
        for each in sessions.list_sessions(user)[: sessions.MOST]
    ]


@login_required
def profile_do(request: HttpRequest, deed: str) -> HttpResponse:
    """The dialog of one of DIALOGS (GET, POST), or one of DEEDS (POST)."""
    if deed in DIALOGS:
        return DIALOGS[deed](request, viewer_of(request))
    if deed in DEEDS and request.method == "POST":
        return DEEDS[deed](request, viewer_of(request))
    raise Http404("There is no such page.")


def _data(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else None


def _details(request: HttpRequest, viewer: User) -> HttpResponse:
    initial = {"email": viewer.email, "language": viewer.language, "time_zone": viewer.time_zone}
    form = own_forms.Details(_data(request), initial=initial, in_directory=bool(viewer.directory_dn))

    def do(values: dict[str, Any]) -> Done:
        services.change_user(viewer, viewer, values)
        # All of the page may be in another language now.
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})

    return dialog(request, form, do, title=_("Account"), button=_("Save"))


def _password(request: HttpRequest, viewer: User) -> HttpResponse:
    def do(values: dict[str, Any]) -> Done:
        services.change_password(viewer, values["current"], values["password"])
        sessions.renew(request, viewer)
        return _("Your password is changed.")

    return dialog(request, own_forms.Password(_data(request)), do, title=_("Password"), button=_("Change"))


def _app(request: HttpRequest, viewer: User) -> HttpResponse:
    """A new secret, with the form that confirms it."""

    def do() -> Done:
        made = totp.enrol(viewer)
        return render(request, "dialog_app.html", {"form": own_forms.Code(), "made": made})

    return deed(request, do)


def _confirm_app(request: HttpRequest, viewer: User) -> HttpResponse:
    """The code of the app; nothing is left of the secret beside the recovery codes."""
    form = own_forms.Code(request.POST)

    def do(values: dict[str, Any]) -> Done:
        answer = _codes(request, totp.confirm(viewer, values["code"]))
        answer.headers["HX-Retarget"] = "#dialog-content"
        answer.headers["HX-Reswap"] = "innerHTML"
        return answer

    done = submit(request, form, do)
    return done if done is not None else render(request, "_fields.html", {"form": form}, status=422)


def _codes(request: HttpRequest, codes: list[str]) -> HttpResponse:
    lead = _("Keep these recovery codes in a safe place: each signs you in once. They are shown this once.")
    return _shown_once(request, _("Recovery codes"), lead, "\n".join(codes))


def _shown_once(request: HttpRequest, title: str, lead: str, secret: str) -> HttpResponse:
    answer = render(request, "dialog_secret.html", {"title": title, "lead": lead, "secret": secret})
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _app_off(request: HttpRequest, viewer: User) -> HttpResponse:
    def do(values: dict[str, Any]) -> Done:
        second_factor.turn_off_app(viewer, values["password"], values["code"])
        return _("No code of the app is asked for any more.")

    title = _("Turn the app off")
    return dialog(request, own_forms.AppOff(_data(request)), do, title=title, button=_("Turn off"), danger=True)


def _security_key(request: HttpRequest, viewer: User) -> HttpResponse:
    """The form with the browser's challenge; a wrong answer gets a new one."""
    form = own_forms.SecurityKey(_data(request))

    def do(values: dict[str, Any]) -> Done:
        _key, codes = security_keys.register(viewer, request.session, values["name"], values["credential"] or {})
        return _codes(request, codes) if codes else _("The security key is added.")

    if form.is_bound and (done := submit(request, form, do)) is not None:
        return done
    try:
        options = json.dumps(security_keys.begin_registration(viewer, request.session))
    except PanelError as error:
        told = Redaction(viewer).error(error)
        return refused(told.message, told.status)
    shown = {"form": form, "address": request.path, "options": options}
    return render(request, "dialog_security_key.html", shown, status=422 if form.is_bound else 200)


def _remove_security_key(request: HttpRequest, viewer: User) -> HttpResponse:
    key = next((each for each in security_keys.keys_of(viewer) if each.pk == _id(request.GET)), None)
    if key is None:
        raise Http404("There is no such key.")

    def do(values: dict[str, Any]) -> Done:
        second_factor.remove_key(viewer, key.pk, values["password"])
        return _("%(name)s is removed.") % {"name": key.name}

    title = _("Remove the security key %(name)s") % {"name": key.name}
    form = own_forms.OnlyPassword(_data(request))
    return dialog(request, form, do, title=title, button=_("Remove"), danger=True)


def _token(request: HttpRequest, viewer: User) -> HttpResponse:
    form = own_forms.ApiToken(_data(request))

    def do(values: dict[str, Any]) -> Done:
        only = values["rights"] or None
        _made, text = tokens.create_token(viewer, values["name"], values["expires_at"], only, values["addresses"])
        lead = _("Copy the token now: it is shown this once.")
        return _shown_once(request, _("Token %(name)s") % {"name": values["name"]}, lead, text)

    groups = rights.grouped(viewer.rights, request.POST.getlist("rights"))
    template = "dialog_token.html"
    return dialog(request, form, do, template=template, title=_("New token"), button=_("Create"), groups=groups)


def _ssh_key(request: HttpRequest, viewer: User) -> HttpResponse:
    def do(values: dict[str, Any]) -> Done:
        services.add_ssh_key(viewer, values["name"], values["public_key"])
        return _("%(name)s is added.") % {"name": values["name"]}

    return dialog(request, own_forms.SshKey(_data(request)), do, title=_("Add an SSH key"), button=_("Add"))


def _remove_ssh_key(request: HttpRequest, viewer: User) -> HttpResponse:
    key = _one(SshKey, viewer, request)

    def do() -> Done:
        services.remove_ssh_key(viewer, key.pk)
        return _("The SSH key is removed. VMs that let it in still do.")

    title = _("Remove %(name)s") % {"name": key.name}
    lead = _("New VMs do not let it in any more. VMs that let it in still do.")
    lost = [f"{key.name}: {key.public_key[:LONGEST_KEY]}"]
    return question(
        request, do, title=title, button=_("Remove"), lead=lead, lost=lost, lost_title=_("This is removed:")
    )


def _revoke(request: HttpRequest, viewer: User) -> HttpResponse:
    token = _one(Token, viewer, request)

    def do() -> Done:
        tokens.revoke_token(viewer, token.pk)
        return _("The token is revoked.")

    lost = [_("the token %(name)s") % {"name": token.name}]
    lost += [_("the webhook %(url)s, which was made by it") % {"url": each} for each in webhooks_of(token)]
    if token.last_used_at is not None:
        last = {"when": date_format(timezone.localtime(token.last_used_at), "Y-m-d H:i"), "where": token.last_used_from}
        lost.append(_("the way in of the program that used it last on %(when)s from %(where)s") % last)
    title = _("Revoke %(name)s") % {"name": token.name}
    lead = _("Programs that use it are refused from then on.")
    return question(request, do, title=title, button=_("Revoke"), lead=lead, lost=lost)


def _end_session(request: HttpRequest, viewer: User) -> HttpResponse:
    def do() -> Done:
        sessions.end_one(viewer, viewer, request.POST.get("id", "")[:64])
        return _("The session is ended.")

    return deed(request, do)


def _end_others(request: HttpRequest, viewer: User) -> HttpResponse:
    def do() -> Done:
        sessions.end_others(viewer, viewer, keep=request)
        return _("All your other sessions are ended.")

    others = [each for each in listed_sessions(viewer, request) if not each["current"]]
    title = _("End all your other sessions")
    return question(request, do, title=title, button=_("End all others"), lost_title=SIGNED_OUT, lost=named(others))


def named(listed: list[dict[str, Any]]) -> list[str]:
    """The sessions as people know them: their browsers and addresses."""
    return [f"{each['browser']}, {each['row'].address}" for each in listed]


def _one(model: Any, viewer: User, request: HttpRequest) -> Any:
    """The viewer's own one that is asked about by its id; as absent what is another's."""
    found = model.objects.filter(user=viewer, pk=_id(request.POST) or _id(request.GET)).first()
    if found is None:
        raise Http404("There is no such object.")
    return found


def _id(data: Any) -> int:
    text = data.get("id", "")
    return int(text) if text.isdecimal() and len(text) < MOST_DIGITS else 0


View = Callable[[HttpRequest, User], HttpResponse]
DIALOGS: dict[str, View] = {
    "details": _details,
    "password": _password,
    "app-off": _app_off,
    "security-key": _security_key,
    "security-key-remove": _remove_security_key,
    "token": _token,
    "ssh-key": _ssh_key,
    "ssh-key-remove": _remove_ssh_key,
    "token-revoke": _revoke,
    "sessions-end": _end_others,
}
DEEDS: dict[str, View] = {
    "app": _app,
    "app-confirm": _confirm_app,
    "session-end": _end_session,
}
