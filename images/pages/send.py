"""The page `/new`: a build from the browser, with a context that a script packs."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.files import File
from django.core.files.storage import default_storage
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.models import User
from builds.models import Build
from common.outages import StorageAway
from images import catalog, quota
from images.models import Image
from images.pages.forms import SendForm

EXAMPLE = """FROM docker.io/library/alpine:3
COPY . /app
CMD ["ls", "/app"]
"""
REPLACE = "Choose another tag, or tick that it is to be replaced."
NO_CONTEXT = "What that image was built from is no longer stored: choose its files again."


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def send(request: HttpRequest) -> HttpResponse:
    """With `from` in the URL, the Dockerfile and options of an own image fill the form."""
    user = cast("User", request.user)
    source = _source(request, user)
    if request.method != "POST":
        return _page(request, SendForm(initial=_initial(source)), source)
    form = SendForm(request.POST, request.FILES)
    if form.is_valid():
        image = _order(user, form, source)
        if image is not None:
            return HttpResponseRedirect(reverse("image", args=[image.pk]))
    return _page(request, form, source, status=422)


send.body_limits = {"POST": sys.maxsize}  # type: ignore[attr-defined]


def _order(user: User, form: SendForm, source: Build | None) -> Image | None:
    """None if the request is refused; then the form says why."""
    try:
        with _context(form, source) as context:
            return catalog.order(owner=user, wanted=form.wanted(), context=context)
    except (FileNotFoundError, StorageAway):
        form.add_error("context", NO_CONTEXT)
    except catalog.NameTaken:
        name = f"{user.username}/{form.cleaned_data['name']}:{form.cleaned_data['tag']}"
        form.add_error("tag", f"{name} exists already. {REPLACE}")
    except quota.StorageExceeded as problem:
        form.add_error(None, f"{problem}.")
    except quota.QuotaExceeded as problem:
        form.add_error(
            None, f"{problem} The next may start in {-(-problem.retry_after // 60)} min."
        )
    return None


def _context(form: SendForm, source: Build | None) -> AbstractContextManager["File[bytes] | None"]:
    """The uploaded context; else that of the image in `from`; else None."""
    sent: File[bytes] | None = form.cleaned_data["context"]
    if sent is None and form.cleaned_data["keep_context"] and source is not None:
        if not source.context_key:
            raise FileNotFoundError(source.pk)
        return default_storage.open(source.context_key)
    return sent or nullcontext()


def _source(request: HttpRequest, user: User) -> Build | None:
    """The current attempt of the own image that the URL names."""
    try:
        image_id = UUID(request.GET.get("from", ""))
    except ValueError:
        return None
    image = Image.objects.owned_by(user).filter(pk=image_id).first()
    return image.current if image else None


def _initial(source: Build | None) -> dict[str, Any]:
    if source is None:
        return {"dockerfile": EXAMPLE, "tag": "1.0"}
    image = Image.objects.get(pk=source.image_id)
    return {
        "name": image.name,
        "tag": image.tag,
        "public": image.public,
        "readme": image.readme,
        "dockerfile": source.dockerfile,
        "keep_context": bool(source.context_key),
        "build_args": _lines(source.build_args),
        "labels": _lines(source.labels),
        "target": source.target,
        "no_cache": source.no_cache,
        "pull": source.pull,
    }


def _lines(values: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in sorted(values.items()))


def _page(
    request: HttpRequest, form: SendForm, source: Build | None, *, status: int = 200
) -> HttpResponse:
    user = cast("User", request.user)
    context = {
        "form": form,
        "source": source,
        "limit": quota.daily_limit(user),
        "used": quota.builds_charged(user),
        "most_bytes": settings.MAX_BODY_BYTES,
    }
    return render(request, "pages/send.html", context, status=status)
