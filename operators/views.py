"""Pages on which operators confirm an action on one or many rows, and watch its progress."""

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.http import urlencode

from operators import bulk
from operators.action_definitions import Subject, Verb
from operators.models import BulkAction, BulkItem

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

AT_ONCE = 1.0
"""Seconds of work in one request. The rest follows in later requests or housekeeping."""
SHOWN = 200


def urls(admin: "ModelAdmin[Any]", subject: Subject[Any]) -> list[URLPattern]:
    """URLs of the confirmation pages for one row, and of the page of a bulk action."""
    wrap = admin.admin_site.admin_view
    prefix = f"{admin.opts.app_label}_{admin.opts.model_name}"
    ones = [
        path(
            f"<uuid:object_id>/{verb.name}/",
            wrap(partial(_one, admin, subject, verb)),
            name=f"{prefix}_{verb.name}",
        )
        for verb in subject.verbs.values()
    ]
    many = path(
        "bulk/<uuid:action_id>/", wrap(partial(_many, admin, subject)), name=f"{prefix}_bulk"
    )
    return [*ones, many]


def selected(
    request: HttpRequest, subject: Subject[Any], verb: Verb[Any], rows: "QuerySet[Any]"
) -> HttpResponse:
    """Store the rows selected in the list as an action, and redirect to its confirmation."""
    try:
        action = bulk.draft(subject, verb, rows, by=request.user)
    except bulk.TooMany:
        nouns = subject.model._meta.verbose_name_plural
        text = f"More than {bulk.MOST:,} {nouns} are meant: narrow the list first."
        messages.error(request, text)
        return HttpResponseRedirect(request.get_full_path())
    query = request.GET.urlencode()
    address = subject.address("bulk", action.pk)
    return HttpResponseRedirect(f"{address}?{urlencode({'list': query})}" if query else address)


def _one(
    admin: "ModelAdmin[Any]",
    subject: Subject[Any],
    verb: Verb[Any],
    request: HttpRequest,
    object_id: UUID,
) -> HttpResponse:
    """Show the confirmation of an action on one row, or perform it (POST)."""
    if not subject.allows(request.user, verb):
        raise PermissionDenied
    rows = subject.rows().filter(pk=object_id)
    one = rows.first()
    if one is None:
        messages.error(request, bulk.GONE)
        return HttpResponseRedirect(subject.address("changelist"))
    seen = getattr(one, subject.made_at).isoformat()
    if request.method != "POST":
        context = {
            **_context(admin, subject, verb, request),
            "title": f"{verb.label}: {one}",
            "one": one,
            "consequences": subject.consequences(verb, rows),
            "seen": seen,
            "back": subject.address("change", object_id),
        }
        return TemplateResponse(request, "admin/operators/confirm.html", context)
    if request.POST.get("seen", seen) != seen:
        messages.error(request, bulk.ANOTHER)
        return HttpResponseRedirect(subject.address("changelist"))
    action = bulk.draft(subject, verb, rows, by=request.user)
    bulk.confirm(action)
    bulk.carry_on(action.pk, seconds=AT_ONCE)
    return _told(request, subject, action, object_id)


def _told(
    request: HttpRequest, subject: Subject[Any], action: BulkAction, object_id: UUID
) -> HttpResponse:
    item = action.items.first()
    there: UUID | None = object_id
    if item is None:
        messages.error(request, bulk.GONE)
    elif item.state == BulkItem.REFUSED:
        messages.error(request, f"{item.label}: {item.note}")
    elif item.state == BulkItem.WAITING:
        text = f"{item.label}: the database is busy; it is done as soon as it is not."
        messages.info(request, text)
    else:
        messages.success(request, f"{item.label}: {item.note}")
        there = subject.leads_to(object_id)
    found = there is not None and subject.rows().filter(pk=there).exists()
    return HttpResponseRedirect(
        subject.address("change", there) if found else subject.address("changelist")
    )


def _many(
    admin: "ModelAdmin[Any]", subject: Subject[Any], request: HttpRequest, action_id: UUID
) -> HttpResponse:
    """The page of a bulk action: its confirmation, its progress, or its result."""
    actions = BulkAction.objects.select_related("by").filter(subject=subject.name)
    action = actions.filter(pk=action_id).first()
    if action is None:
        raise Http404
    verb = subject.verbs[action.verb]
    if not subject.allows(request.user, verb):
        raise PermissionDenied
    query = request.GET.get("list", "")
    back = subject.address("changelist") + (f"?{query}" if query else "")
    if request.method == "POST":
        return _posted(request, subject, verb, action, back)
    counts = bulk.counts(action)
    total = subject.count(counts.total())
    context = {
        **_context(admin, subject, verb, request),
        "title": f"{verb.label}: {total}",
        "action": action,
        "back": back,
        "total": counts.total(),
        "what": total,
        "outcome": f"{counts[BulkItem.DONE]:,} of {total}",
        "progress": f"{counts.total() - counts[BulkItem.WAITING]:,} of {total}",
        "others": f"{counts[BulkItem.WAITING]:,}",
        "done": counts[BulkItem.DONE],
        "refused": counts[BulkItem.REFUSED],
        "waiting": counts[BulkItem.WAITING],
    }
    items = action.items.order_by("id")
    if action.confirmed_at is None:
        meant = subject.rows().filter(pk__in=action.items.values("object_id"))
        context["labels"] = items.values_list("label", flat=True)[:SHOWN]
        context["more"] = max(0, counts.total() - SHOWN)
        context["consequences"] = subject.consequences(verb, meant)
        return TemplateResponse(request, "admin/operators/confirm.html", context)
    context["refusals"] = items.filter(state=BulkItem.REFUSED)[:SHOWN]
    context["left"] = subject.left(action.items.values("object_id"))
    return TemplateResponse(request, "admin/operators/bulk.html", context)


def _posted(
    request: HttpRequest, subject: Subject[Any], verb: Verb[Any], action: BulkAction, back: str
) -> HttpResponse:
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
        messages.success(request, f"{subject.count(counts.total())} {verb.done}.")
        return HttpResponseRedirect(back)
    return HttpResponseRedirect(request.get_full_path())


def _context(
    admin: "ModelAdmin[Any]", subject: Subject[Any], verb: Verb[Any], request: HttpRequest
) -> dict[str, Any]:
    return {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "media": admin.media,
        "list": subject.address("changelist"),
        "verb": verb,
    }
