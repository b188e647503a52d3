"""What operators ask of builds: confirmed, done one by one, written into the audit log."""

from collections.abc import Iterable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from builds.admin.verbs import VERBS, Refused, Verb
from builds.models import Build, BuildQuerySet

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

LOOK, CHANGE_RIGHT = "builds.view_build", "builds.change_build"
LIST, ONE = "admin:builds_build_changelist", "admin:builds_build_change"
MOST = 1_000
"""Builds in one action."""
SECONDS = 10.0
"""Of work in one request; what is left is told."""
SHOWN = 50
GONE = "There is no such build."


def may_look(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_staff and request.user.has_perm(LOOK)


def may_change(request: HttpRequest) -> bool:
    return may_look(request) and request.user.has_perm(CHANGE_RIGHT)


def urls(admin: "ModelAdmin[Any]") -> list[URLPattern]:
    wrap = admin.admin_site.admin_view
    return [
        route
        for verb in VERBS.values()
        for route in (
            path(
                f"<uuid:build_id>/{verb.name}/",
                wrap(partial(_one, admin, verb)),
                name=f"builds_build_{verb.name}",
            ),
            path(
                f"many/{verb.name}/",
                wrap(partial(_many, admin, verb)),
                name=f"builds_build_many_{verb.name}",
            ),
        )
    ]


def confirm(
    admin: "ModelAdmin[Any]", request: HttpRequest, verb: Verb, builds: BuildQuerySet
) -> HttpResponse:
    """Those that were ticked, or all that the list found, to be confirmed."""
    chosen = list(builds.only("label", "number")[: MOST + 1])
    if len(chosen) > MOST:
        messages.error(request, f"More than {MOST:,} builds are meant: narrow the list first.")
        return HttpResponseRedirect(request.get_full_path())
    address = reverse(f"admin:builds_build_many_{verb.name}")
    return _ask(admin, request, verb, chosen, address, request.get_full_path())


def _one(admin: "ModelAdmin[Any]", verb: Verb, request: HttpRequest, build_id: UUID) -> Any:
    if not may_change(request):
        raise PermissionDenied
    build = Build.objects.light().filter(pk=build_id).first()
    if build is None:
        messages.error(request, GONE)
        return HttpResponseRedirect(reverse(LIST))
    back = reverse(ONE, args=[build_id])
    if request.method != "POST":
        return _ask(admin, request, verb, [build], request.path, back)
    done = _do(request, verb, [build])
    if done and verb.makes_another:
        newest = Build.objects.filter(image_id=build.image_id).order_by("-number").first()
        return HttpResponseRedirect(reverse(ONE, args=[newest.pk if newest else build_id]))
    return HttpResponseRedirect(_back(request, back))


def _many(admin: "ModelAdmin[Any]", verb: Verb, request: HttpRequest) -> HttpResponse:
    if not may_change(request):
        raise PermissionDenied
    ids = [_uuid(each) for each in request.POST.getlist("build")[:MOST]]
    builds = Build.objects.light().filter(pk__in=[each for each in ids if each])
    _do(request, verb, builds.order_by("front", "queued_at", "id"))
    return HttpResponseRedirect(_back(request, reverse(LIST)))


def _ask(
    admin: "ModelAdmin[Any]",
    request: HttpRequest,
    verb: Verb,
    builds: list[Build],
    address: str,
    back: str,
) -> HttpResponse:
    what = str(builds[0]) if len(builds) == 1 else f"{len(builds):,} builds"
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "media": admin.media,
        "verb": verb,
        "title": f"{verb.label}: {what}",
        "what": what,
        "builds": builds,
        "shown": builds[:SHOWN],
        "more": max(0, len(builds) - SHOWN),
        "address": address,
        "back": back,
    }
    return TemplateResponse(request, "admin/builds/build/confirm.html", context)


def _do(request: HttpRequest, verb: Verb, builds: Iterable[Build]) -> bool:
    """One after the other, each with its audit entry; says what was done and what was not.

    Returns whether anything was.
    """
    until = monotonic() + SECONDS
    done, refused, left = [], [], 0
    for build in builds:
        if monotonic() > until:
            left += 1
            continue
        try:
            with transaction.atomic():
                said = verb.act(build)
                _note(request, build, said)
        except Refused as refusal:
            refused.append(f"{build}: {refusal}")
        except OperationalError:
            refused.append(f"{build}: the database was busy, so nothing was done. Try again.")
        else:
            done.append(f"{build}: {said}")
    if done:
        text = done[0] if len(done) == 1 else f"{verb.label}: {len(done):,} builds."
        messages.success(request, text)
    for text in refused[:SHOWN]:
        messages.error(request, text)
    if len(refused) > SHOWN:
        messages.error(request, f"And {len(refused) - SHOWN:,} more that could not be done.")
    if left:
        messages.warning(request, f"{left:,} were not reached in time and are as they were.")
    return bool(done)


def _note(request: HttpRequest, build: Build, said: str) -> None:
    LogEntry.objects.create(
        user_id=cast("UUID", request.user.pk),
        content_type=ContentType.objects.get_for_model(Build),
        object_id=str(build.pk),
        object_repr=str(build)[:200],
        action_flag=CHANGE,
        change_message=said,
    )


def _back(request: HttpRequest, otherwise: str) -> str:
    wanted = request.POST.get("back", "")
    ours = url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return wanted if ours and wanted.startswith("/") else otherwise


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
