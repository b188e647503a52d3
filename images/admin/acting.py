"""What operators ask for, confirmed and watched: one image or thousands, all by the catalog."""

from functools import partial
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import pluralize
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode

from accounts.models import User
from builds.models import Build
from images import bulk
from images.admin.consequences import consequences
from images.models import OVERSEE, BulkAction, BulkItem, Image, ImageQuerySet
from images.verbs import VERBS, Verb

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

AT_ONCE = 1.0
"""Seconds of work in one request; what is left follows."""
SHOWN = 200
LIST, ONE = "admin:images_image_changelist", "admin:images_image_change"


def may_look(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_staff and request.user.has_perm(OVERSEE)


def may(request: HttpRequest, verb: Verb) -> bool:
    return may_look(request) and request.user.has_perm(verb.permission)


def verbs(request: HttpRequest) -> list[Verb]:
    """What this operator may do."""
    return [verb for verb in VERBS.values() if may(request, verb)]


def urls(admin: "ModelAdmin[Any]") -> list[URLPattern]:
    wrap = admin.admin_site.admin_view
    ones = [
        path(
            f"<uuid:image_id>/{verb.name}/",
            wrap(partial(_one, admin, verb)),
            name=f"images_image_{verb.name}",
        )
        for verb in VERBS.values()
    ]
    many = path("bulk/<uuid:action_id>/", wrap(partial(_many, admin)), name="images_image_bulk")
    return [*ones, many]


def selected(request: HttpRequest, verb: Verb, images: ImageQuerySet) -> HttpResponse:
    """Those that were ticked in the list, or all that it found: on to what confirms it."""
    try:
        action = bulk.draft(verb, images, by=cast("User", request.user))
    except bulk.TooMany:
        text = f"More than {bulk.MOST:,} images are meant: narrow the list first."
        messages.error(request, text)
        return HttpResponseRedirect(request.get_full_path())
    query = request.GET.urlencode()
    address = reverse("admin:images_image_bulk", args=[action.pk])
    return HttpResponseRedirect(f"{address}?{urlencode({'list': query})}" if query else address)


def _one(admin: "ModelAdmin[Any]", verb: Verb, request: HttpRequest, image_id: UUID) -> Any:
    """Asks whether to do it to one image, and does it."""
    if not may(request, verb):
        raise PermissionDenied
    images = Image.objects.with_build().filter(pk=image_id)
    image = images.first()
    if image is None:
        messages.error(request, bulk.GONE)
        return HttpResponseRedirect(reverse(LIST))
    seen = image.created_at.isoformat()
    if request.method != "POST":
        context = {
            **_context(admin, request, verb),
            "title": f"{verb.label}: {image}",
            "images": [str(image)],
            "consequences": consequences(verb, images),
            "seen": seen,
            "back": reverse(ONE, args=[image.pk]),
            "image": image,
        }
        return TemplateResponse(request, "admin/images/image/confirm.html", context)
    if request.POST.get("seen", seen) != seen:
        messages.error(request, bulk.ANOTHER)
        return HttpResponseRedirect(reverse(LIST))
    action = bulk.draft(verb, images, by=cast("User", request.user))
    bulk.confirm(action)
    bulk.carry_on(action.pk, seconds=AT_ONCE)
    return _told(request, verb, action, image)


def _told(request: HttpRequest, verb: Verb, action: BulkAction, image: Image) -> HttpResponse:
    item = action.items.first()
    there = Image.objects.filter(pk=image.pk).exists()
    if item is None or item.state == BulkItem.REFUSED:
        messages.error(request, f"{image}: {item.note if item else bulk.GONE}")
    elif item.state == BulkItem.WAITING:
        messages.info(request, f"{image}: the database is busy; it is done as soon as it is not.")
    else:
        messages.success(request, f"{image}: {verb.one}.")
    return HttpResponseRedirect(reverse(ONE, args=[image.pk]) if there else reverse(LIST))


def _many(admin: "ModelAdmin[Any]", request: HttpRequest, action_id: UUID) -> Any:
    """A bulk action: to be confirmed, under way with its progress, or what came of it."""
    action = BulkAction.objects.select_related("by").filter(pk=action_id).first()
    if action is None:
        raise Http404
    verb = VERBS[action.verb]
    if not may(request, verb):
        raise PermissionDenied
    query = request.GET.get("list", "")
    back = reverse(LIST) + (f"?{query}" if query else "")
    if request.method == "POST":
        return _posted(request, action, verb, back)
    counts = bulk.counts(action)
    context = {
        **_context(admin, request, verb),
        "action": action,
        "back": back,
        "total": counts.total(),
        "done": counts[BulkItem.DONE],
        "refused": counts[BulkItem.REFUSED],
        "waiting": counts[BulkItem.WAITING],
        "title": f"{verb.label}: {_n(counts.total())}",
    }
    items = action.items.order_by("id")
    if action.confirmed_at is None:
        meant = Image.objects.filter(pk__in=action.items.values("image_id"))
        context["images"] = items.values_list("label", flat=True)[:SHOWN]
        context["more"] = max(0, counts.total() - SHOWN)
        context["consequences"] = consequences(verb, meant)
        return TemplateResponse(request, "admin/images/image/confirm.html", context)
    context["refusals"] = items.filter(state=BulkItem.REFUSED)[:SHOWN]
    if verb.name == "delete":
        left = Build.objects.filter(discarded_at__isnull=False, purged_at=None)
        context["left"] = left.filter(image_id__in=action.items.values("image_id")).count()
    return TemplateResponse(request, "admin/images/image/bulk.html", context)


def _posted(request: HttpRequest, action: BulkAction, verb: Verb, back: str) -> HttpResponse:
    if "stop" in request.POST:
        bulk.stop(action)
        return HttpResponseRedirect(request.get_full_path())
    if "confirm" in request.POST:
        if action.by_id != request.user.pk:
            raise PermissionDenied
        bulk.confirm(action)
    bulk.carry_on(action.pk, seconds=AT_ONCE)
    counts = bulk.counts(action)
    if "confirm" in request.POST and counts[BulkItem.DONE] == counts.total():
        messages.success(request, f"{_n(counts.total())} {verb.done}.")
        return HttpResponseRedirect(back)
    return HttpResponseRedirect(request.get_full_path())


def _context(admin: "ModelAdmin[Any]", request: HttpRequest, verb: Verb) -> dict[str, Any]:
    return {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "media": admin.media,
        "verb": verb,
    }


def _n(count: int) -> str:
    return f"{count:,} image{pluralize(count)}"
