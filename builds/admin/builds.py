"""Admin list and detail page of builds."""

import re
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from builds.admin import views
from builds.admin.actions import BUILDS
from builds.admin.detail import detail
from builds.admin.filters import (
    CodeFilter,
    EndedFilter,
    FaultFilter,
    OwnerFilter,
    StatusFilter,
    WorkerFilter,
)
from builds.models import Build, BuildQuerySet
from builds.queue.status import QueueView
from builds.status import RUNNING, Status, state_word
from common.humanize import ago, badge, duration, took
from database.substring_lookups import indexed
from operators.admin_mixins import OperatedAdmin
from operators.changelists import BoundedChangeList

LETTER = re.compile(r"\w")
BREAK = mark_safe(":<wbr>")


class BuildList(BoundedChangeList):
    """Adds the queue status to each waiting build on the page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        waits = any(build.state is Status.QUEUED for build in self.result_list)
        view = QueueView.now() if waits else None
        for build in self.result_list:
            queued = view is not None and build.state is Status.QUEUED
            build.queue = view.of(build) if view is not None and queued else None


@admin.register(Build)
class BuildAdmin(OperatedAdmin):
    subject = BUILDS
    list_display = ("__str__", "standing", "doing", "queued", "took", "worker_name")
    list_filter = (
        StatusFilter,
        EndedFilter,
        FaultFilter,
        CodeFilter,
        OwnerFilter,
        WorkerFilter,
    )
    search_fields = ("label",)
    searches = "A part of owner/name:tag; the id of a build or an image; a digest."
    date_hierarchy = "queued_at"
    sortable_by = ("queued",)
    ordering = ("-queued_at", "-id")
    change_list_template = "admin/builds/build/change_list.html"
    change_form_template = "admin/builds/build/change_form.html"

    def get_queryset(self, request: HttpRequest) -> BuildQuerySet:
        return Build.objects.light()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BuildList]:
        return BuildList

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        text = search_term.strip()
        try:
            identity = UUID(text)
        except ValueError:
            identity = None
        if identity is not None:
            either = queryset.filter(pk=identity) | queryset.filter(image_id=identity)
            return either, False
        if text.lower().startswith("sha256:"):
            return queryset.filter(digest__startswith=text.lower()), False
        for word in filter(LETTER.search, text.split()):
            queryset = queryset.filter(_holding(word))
        return queryset, False

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        queue = path("queue/", wrap(views.queue), {"admin": self}, name="builds_build_queue")
        failures = path(
            "failures/", wrap(views.failures), {"admin": self}, name="builds_build_failures"
        )
        return [queue, failures, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Redirect to the attempt given as `attempt`: a lost attempt's log continues in the next
        attempt, whose line links also lead here."""
        build = self.get_object(request, object_id)
        number = request.GET.get("attempt", "")
        if build and self.has_view_permission(request, build) and number != str(build.number):
            asked = build.sibling(number)
            if asked is not None:
                address = reverse("admin:builds_build_change", args=[asked.pk])
                return HttpResponseRedirect(f"{address}?attempt={asked.number}")
        return super().change_view(request, object_id, form_url, extra_context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context.update(detail(request, kwargs["obj"]))
        return super().render_change_form(request, context, *args, **kwargs)

    # Columns

    @admin.display(description="status")
    def standing(self, build: Build) -> str:
        return badge(state_word(build.state))

    @admin.display(description="what it does")
    def doing(self, build: Any) -> str:
        if build.state is Status.QUEUED:
            return str(build.queue.place) if build.queue else "in the queue"
        if build.state in (Status.PUSHING, Status.CANCELLING, Status.LOST):
            return str(build.status)
        if build.state in RUNNING:
            return f"step {build.step} of {build.steps}" if build.steps else "starting"
        if build.state is Status.FAILED:
            whose = "Slipway's" if build.failure_fault == "service" else "user's"
            return format_html(
                '<span class="fault-{}" title="{}">{}, {} fault</span>',
                build.failure_fault,
                build.failure_text[:500],
                build.failure_code,
                whose,
            )
        return ""

    @admin.display(description="queued", ordering="queued_at")
    def queued(self, build: Build) -> str:
        return ago(build.queued_at)

    @admin.display(description="took")
    def took(self, build: Build) -> str:
        return duration(took(build))

    @admin.display(description="worker")
    def worker_name(self, build: Build) -> str:
        """Host and process id. The random suffix, which only makes names unique, is in the
        tooltip."""
        host = build.worker.split(":")[:-1]
        shown = format_html_join(BREAK, "{}", ((each,) for each in host))
        return format_html('<span title="{}">{}</span>', build.worker, shown)


def _holding(word: str) -> Q:
    """Match a word in the label. Words too short for the index match only the start of owner,
    name or tag."""
    if indexed(word):
        return Q(label__icontains=word)
    begins = Q(label__istartswith=word)
    return begins | Q(label__icontains=f"/{word}") | Q(label__icontains=f":{word}")
