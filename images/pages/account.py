"""The page `/account`: rights and usage of the user, API keys, password."""

from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_POST, require_safe

from accounts import scopes
from accounts.client_address import client_address
from accounts.forms import NewPasswordForm, OwnKeyForm
from accounts.models import ApiKey, User
from builds.conf import build_settings
from images import quota
from images.models import Image

Page = Callable[..., HttpResponse]
MOST_KEYS = 200
"""API keys that are listed."""


def signed_in(view: Page) -> Page:
    """For forms: if the session has ended, redirects to the sign-in and then to the page of the
    form."""

    def answer(request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **options)
        messages.error(request, "Your session has ended. Nothing was changed: sign in to go on.")
        return HttpResponseRedirect(
            f"{reverse('sign-in')}?{urlencode({'next': reverse('account')})}"
        )

    return answer


@login_required
@require_safe
def show(request: HttpRequest) -> HttpResponse:
    return _page(request)


@require_POST
@signed_in
def make_key(request: HttpRequest) -> HttpResponse:
    """The answer shows the key. It is not shown again."""
    form = OwnKeyForm(_user(request), request.POST)
    if not form.is_valid():
        return _page(request, key_form=form, status=422)
    key, text = form.issue()
    answer = _page(request, made=key, key_text=text)
    add_never_cache_headers(answer)
    answer["Cache-Control"] = "private, no-store"
    return answer


@require_POST
@signed_in
def revoke_key(request: HttpRequest, key_id: UUID) -> HttpResponse:
    found = ApiKey.objects.filter(user=_user(request), pk=key_id)
    if found.revoke():
        messages.info(request, "The key is revoked: it works no more.")
    return HttpResponseRedirect(reverse("account"))


@require_POST
@signed_in
def change_password(request: HttpRequest) -> HttpResponse:
    """Other sessions of this user end."""
    form = NewPasswordForm(_user(request), client_address(request), request.POST)
    if not form.is_valid():
        return _page(request, password_form=form, status=422)
    form.save()
    update_session_auth_hash(request, form.user)
    messages.info(request, "Your password is changed. Other browsers have to sign in again.")
    return HttpResponseRedirect(reverse("account"))


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """The first steps on a command line, with the URLs and the user's name filled in."""
    context = {
        "address": request.build_absolute_uri("/").rstrip("/"),
        "registry": build_settings().registry,
        "name": request.user.get_username() or "your-name",
    }
    return render(request, "pages/start.html", context)


def _user(request: HttpRequest) -> User:
    return cast("User", request.user)


def _page(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    user = _user(request)
    keys = ApiKey.objects.usable().filter(user=user).order_by("-created_at", "-id")
    stored = Image.objects.owned_by(user).aggregate(
        images=Count("pk"), bytes=Sum("good__image_bytes")
    )
    context = {
        "limit": quota.daily_limit(user),
        "used": quota.builds_charged(user),
        "stored": stored,
        "keys": [(key, _may(key)) for key in keys[:MOST_KEYS]],
        "key_form": OwnKeyForm(user),
        "password_form": NewPasswordForm(user, client_address(request)),
        "address": request.build_absolute_uri("/").rstrip("/"),
        **more,
    }
    return render(request, "pages/account.html", context, status=status)


def _may(key: ApiKey) -> str:
    if scopes.ALL in key.scopes:
        return "everything"
    return ", ".join(scope.removeprefix("images:") for scope in key.scopes)
