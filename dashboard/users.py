"""Users in the admin, with how much of their build quota they have used."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone

from accounts.admin import UserAdmin
from accounts.models import User
from builds.models import Build
from dashboard.queue_form import FIELDS, QueueForm
from images.quota import QUOTA_WINDOW, daily_limit


@admin.register(User)
class PeopleAdmin(UserAdmin):
    form = QueueForm
    list_display = ("username", "role", "used", "is_active", "signs_with", "last_login")
    readonly_fields = (*UserAdmin.readonly_fields, "used")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Add the number of charged builds to each user, in the same query, for shown rows only."""
        since = timezone.now() - QUOTA_WINDOW
        own = Build.objects.charged_since(OuterRef("pk"), since).order_by().values("owner_id")
        charged = Subquery(own.annotate(n=Count("pk")).values("n"), output_field=IntegerField())
        return super().get_queryset(request).annotate(charged=Coalesce(charged, 0))

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        found = super().get_fieldsets(request, obj)
        if obj is None:
            return found
        (title, first), *rest = found
        first = {**first, "fields": (*first["fields"], "used")}
        changes = self.has_change_permission(request, obj)
        queue = [("Queue", {"fields": FIELDS})] if changes else []
        return [(title, first), *queue, *rest]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if isinstance(form, QueueForm):
            form.save_share()

    @admin.display(description="builds in 24 h")
    def used(self, user: User) -> str:
        limit = daily_limit(user)
        charged: int = user.charged  # type: ignore[attr-defined]
        return f"{charged} of {limit}" if limit is not None else f"{charged}, no limit"
