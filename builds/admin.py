"""Builds in the admin: a history to read."""

from django.contrib import admin
from django.http import HttpRequest

from builds.models import Build


@admin.register(Build)
class BuildAdmin(admin.ModelAdmin[Build]):
    list_display = ("label", "number", "status", "queued_at", "ended_at", "failure_code")
    list_filter = ("status", "failure_fault")
    search_fields = ("label", "id", "digest")
    show_full_result_count = False
    ordering = ("-queued_at", "-id")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Build | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Build | None = None) -> bool:
        return False
