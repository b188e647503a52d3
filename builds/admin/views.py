"""Admin pages of the queue and of failures by code."""

from itertools import islice
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from builds.admin.actions import BUILDS
from builds.admin.failure_hints import HINTS
from builds.admin.filters import SPANS
from builds.models import Build
from builds.queue.status import QueueView
from builds.status import Status
from database.bounded_counts import bounded_count
from operators.changelists import since

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

SHOWN = 100
FAILURES = [Status.FAILED, Status.LOST]


def queue(request: HttpRequest, admin: "ModelAdmin[Any]") -> HttpResponse:
    """Running builds with their workers, and waiting builds with the reasons why they wait."""
    if not BUILDS.shown_to(request.user):
        raise PermissionDenied
    view = QueueView.now()
    waiting = Build.objects.waiting().light()
    first = list(islice(view.forecast.places, SHOWN))
    known = waiting.order_by().in_bulk(first)
    running = list(Build.objects.running().light().order_by("started_at", "id")[:SHOWN])
    context = {
        **_context(admin, request),
        "title": "The queue",
        "running": running,
        "waiting": [(known[pk], view.of(known[pk])) for pk in first if pk in known],
        "count": bounded_count(waiting),
        "slots": view.slots,
        "reasons": list(view.slots.closed()),
        "may_change": bool(BUILDS.allowed(request.user)),
    }
    return TemplateResponse(request, "admin/builds/build/queue.html", context)


def failures(request: HttpRequest, admin: "ModelAdmin[Any]") -> HttpResponse:
    """Failures grouped by code and fault, most frequent first."""
    if not BUILDS.shown_to(request.user):
        raise PermissionDenied
    span = request.GET.get("ended", "")
    span = span if span in SPANS else "day"
    ended = Build.objects.filter(ended_at__gte=since(SPANS[span][1]))
    groups = (
        ended.filter(status__in=FAILURES)
        .values("failure_fault", "failure_code")
        .annotate(
            builds=Count("pk"),
            images=Count("image_id", distinct=True),
            last=Max("ended_at"),
            example=Max("failure_text"),
        )
        .order_by("-builds", "failure_code", "failure_fault")
    )
    rows: list[dict[str, Any]] = [
        {**each, "hint": HINTS.get(each["failure_code"], "")} for each in groups[:SHOWN]
    ]
    context = {
        **_context(admin, request),
        "title": "Failures",
        "span": span,
        "spans": [(name, label) for name, (label, _) in SPANS.items()],
        "rows": rows,
        "total": sum(row["builds"] for row in rows),
        "service": sum(row["builds"] for row in rows if row["failure_fault"] == "service"),
        "ended": bounded_count(ended),
    }
    return TemplateResponse(request, "admin/builds/build/failures.html", context)


def _context(admin: "ModelAdmin[Any]", request: HttpRequest) -> dict[str, Any]:
    return {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "media": admin.media,
    }
