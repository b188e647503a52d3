"""Admin list filters of builds."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpRequest

from builds.models import BuildQuerySet
from builds.status import WORDS
from operators.changelists import TextFilter, since

SPANS = {
    "hour": ("The last hour", timedelta(hours=1)),
    "day": ("The last day", timedelta(days=1)),
    "week": ("The last week", timedelta(days=7)),
}


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(word, word.capitalize()) for word in WORDS]

    def queryset(self, request: HttpRequest, queryset: BuildQuerySet) -> BuildQuerySet:  # type: ignore[override]
        statuses = WORDS.get(self.value() or "")
        return queryset.filter(status__in=statuses) if statuses else queryset


class FaultFilter(admin.SimpleListFilter):
    title = "whose fault"
    parameter_name = "fault"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("user", "The user's"), ("service", "Slipway's")]

    def queryset(self, request: HttpRequest, queryset: BuildQuerySet) -> BuildQuerySet:  # type: ignore[override]
        fault = self.value()
        return queryset.filter(failure_fault=fault) if fault in ("user", "service") else queryset


class EndedFilter(admin.SimpleListFilter):
    title = "end"
    parameter_name = "ended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, label) for name, (label, _) in SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: BuildQuerySet) -> BuildQuerySet:  # type: ignore[override]
        span = SPANS.get(self.value() or "")
        return queryset.filter(ended_at__gte=since(span[1])) if span else queryset


class CodeFilter(TextFilter):
    title = "failure code"
    parameter_name = "code"
    hint = "As in the list of failures"

    def narrow(self, queryset: BuildQuerySet, text: str) -> BuildQuerySet:  # type: ignore[override]
        return queryset.filter(failure_code=text)


class OwnerFilter(TextFilter):
    title = "owner"
    parameter_name = "owner"
    hint = "A user's whole name"

    def narrow(self, queryset: BuildQuerySet, text: str) -> BuildQuerySet:  # type: ignore[override]
        users = get_user_model().objects.filter(username__iexact=text)
        owner = users.values_list("pk", flat=True).first()
        return queryset.filter(owner_id=owner) if owner else queryset.none()


class WorkerFilter(TextFilter):
    title = "worker"
    parameter_name = "worker"
    hint = "The beginning of its name"

    def narrow(self, queryset: BuildQuerySet, text: str) -> BuildQuerySet:  # type: ignore[override]
        return queryset.filter(worker__startswith=text)
