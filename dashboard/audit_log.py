"""The audit log in the admin: who did what, also for objects that were deleted since."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest
from django.urls import NoReverseMatch
from django.utils.html import format_html

from accounts.models import User
from operators.changelists import BoundedAdmin, TextFilter


class ActorFilter(TextFilter):
    title = "user"
    parameter_name = "user"
    hint = "A user's whole name"

    def narrow(self, queryset: Any, text: str) -> Any:
        actor = User.objects.filter(username__iexact=text).values_list("pk", flat=True).first()
        return queryset.filter(user_id=actor) if actor else queryset.none()


@admin.register(LogEntry)
class AuditAdmin(BoundedAdmin):
    list_display = ("action_time", "user", "kind", "thing", "said")
    list_display_links = None
    list_filter = ("action_flag", ActorFilter)
    list_select_related = ("user", "content_type")
    search_fields = ("object_repr", "=object_id")
    searches = "A part of what something is called, or its id."
    sortable_by = ()
    ordering = ("-id",)
    change_list_template = "admin/operators/change_list.html"

    class Media:
        css = {"all": ["operators/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return False

    @admin.display(description="kind")
    def kind(self, entry: LogEntry) -> str:
        return str(entry.content_type.name) if entry.content_type else ""

    @admin.display(description="what")
    def thing(self, entry: LogEntry) -> str:
        try:
            address = None if entry.is_deletion() else entry.get_admin_url()
        except NoReverseMatch:
            address = None
        if not address:
            return entry.object_repr
        return format_html('<a href="{}">{}</a>', address, entry.object_repr)

    @admin.display(description="done")
    def said(self, entry: LogEntry) -> str:
        return entry.get_change_message() or entry.get_action_flag_display()
