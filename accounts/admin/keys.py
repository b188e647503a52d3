"""Admin pages of API keys: issue (shown once), edit label and expiry, revoke."""

from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers

from accounts import rights
from accounts.admin.actions import KEYS
from accounts.admin.key_forms import IssueForm, KeyForm
from accounts.models import ApiKey, User
from operators.admin_mixins import Operated


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("usable", "in use"), ("expired", "expired"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        expired = Q(revoked_at=None, expires_at__lte=timezone.now())
        chosen = {
            "usable": queryset.usable,
            "expired": lambda: queryset.filter(expired),
            "revoked": lambda: queryset.exclude(revoked_at=None),
        }.get(self.value() or "")
        return chosen() if chosen else queryset


@admin.register(ApiKey)
class ApiKeyAdmin(Operated):
    subject = KEYS
    list_display = ("name", "user", "may", "state", "last_used_at", "expires_at")
    list_filter = (StateFilter,)
    list_select_related = ("user",)
    search_fields = ("user__username", "label")
    searches = "A part of the label or of the user's name, or the id of a key"
    show_full_result_count = False
    ordering = ("-created_at", "id")
    autocomplete_fields = ("user",)
    readonly_fields = ("user", "may", "state", "created_at", "last_used_at", "revoked_at", "id")
    fields = ("user", "label", "may", "state", "expires_at", *readonly_fields[3:])

    # Display

    @admin.display(description="key", ordering="label")
    def name(self, key: ApiKey) -> str:
        return key.label or key.short

    @admin.display(description="may")
    def may(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.display
    def state(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        if not key.user.is_active:
            return "its user is not active"
        expired = key.expires_at is not None and key.expires_at <= timezone.now()
        return "expired" if expired else "in use"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ApiKey], search_term: str
    ) -> tuple[QuerySet[ApiKey], bool]:
        """Search by id for a pasted key or id, so that the secret is never a search term."""
        try:
            identity = UUID(search_term.removeprefix("cpk_").partition(".")[0])
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        return queryset.filter(pk=identity), False

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        if obj is not None:
            return [(None, {"fields": self.fields})]
        fields = ("user", "label", "grants", "only_image", "expires_at", "key_id")
        text = "The key is shown once, on the next page. Times are in UTC; empty for no end."
        return [(None, {"fields": fields, "description": text})]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return self.readonly_fields if obj else ()

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kw: Any
    ) -> Any:
        form = super().get_form(
            request, obj, change, **{"form": KeyForm if obj else IssueForm, **kw}
        )
        form.actor = request.user  # type: ignore[attr-defined]
        if "user" in form.base_fields:
            widget: Any = form.base_fields["user"].widget
            widget.can_add_related = widget.can_change_related = widget.can_view_related = False
        return form

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        if db_field.name == "expires_at":
            return db_field.formfield(**options)
        return super().formfield_for_dbfield(db_field, request, **options)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        """Only the plain save button: after issuing, the next page must show the key."""
        shown = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, {**context, **shown}, *args, **options)

    # Permissions

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        if not super().has_change_permission(request, obj):
            return False
        return obj is None or (obj.revoked_at is None and self._reaches(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Keys are revoked instead of deleted, to keep a record of their owner."""
        return False

    def _reaches(self, request: HttpRequest, key: ApiKey) -> bool:
        return rights.reaches(cast("User", request.user), key.user)

    # Issuing

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:  # only those: the key may be revoked at this moment
            obj.save(update_fields=form.changed_data)
            return
        obj.pk = form.cleaned_data["key_id"]
        obj.scopes = form.granted
        request.issued_key = obj.draw()  # type: ignore[attr-defined]
        obj.save(force_insert=True)

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The only page that shows the key. A Django message would store it in a cookie or a
        session."""
        context = {
            **self.admin_site.each_context(request),
            "title": "The key is issued",
            "opts": self.opts,
            "key": obj,
            "may": self.may(obj),
            "text": request.issued_key,  # type: ignore[attr-defined]
        }
        answer = TemplateResponse(request, "admin/accounts/apikey/issued.html", context)
        add_never_cache_headers(answer)
        return answer
