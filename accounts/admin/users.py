"""Admin pages of users. Operators cannot give, or take over, a right that they lack.

`UserAdmin` is registered in a higher layer, which adds each user's usage of their limits.
"""

from typing import Any, ClassVar, cast
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.db.models import ManyToManyField
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts import rights
from accounts.models import User


class UserCreationForm(AdminUserCreationForm[User]):
    class Meta:
        model = User
        fields = ("username", "hotkey")


class UserAdmin(DjangoUserAdmin[User]):
    add_form = UserCreationForm
    list_display: Any = (
        "username",
        "hotkey",
        "role",
        "is_active",
        "created_at",
        "last_login",
    )
    list_filter = ("is_staff", "is_superuser", "is_active")
    search_fields = ("username", "hotkey")
    search_help_text = "A part of a name or of a hotkey"
    ordering = ("username",)
    show_full_result_count = False
    readonly_fields: ClassVar[Any] = ("id", "created_at", "last_login", "keys")
    fieldsets: ClassVar[Any] = (
        (
            None,
            {
                "fields": (
                    "id",
                    "username",
                    "password",
                    "hotkey",
                    "daily_build_limit",
                    "storage_limit_mb",
                    "keys",
                )
            },
        ),
        (
            "Rights",
            {
                "fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions"),
                "description": "Being an operator opens the admin; the group “operator” says what "
                "may be done there. Nobody gives a right that they lack.",
            },
        ),
        ("Times", {"fields": ("created_at", "last_login")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "hotkey", "usable_password", "password1", "password2")}),
    )

    @admin.display(description="hotkey", empty_value="")
    def signs_with(self, user: User) -> str | None:
        return f"{user.hotkey[:8]}…" if user.hotkey else None

    @admin.display(empty_value="")
    def role(self, user: User) -> str | None:
        if user.is_superuser:
            return "superuser"
        return "operator" if user.is_staff else None

    @admin.display(description="API keys")
    def keys(self, user: User) -> SafeString:
        address = reverse("admin:accounts_apikey_changelist")
        return format_html(
            '<a href="{}?{}">{} in use</a> · <a href="{}?{}">Issue one</a>',
            address,
            urlencode({"user__id__exact": user.pk}),
            user.api_keys.usable().count(),
            reverse("admin:accounts_apikey_add"),
            urlencode({"user": user.pk}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Nobody changes their own rights. Only superusers give single permissions or superuser
        status."""
        fixed: tuple[str, ...] = tuple(self.readonly_fields)
        if obj is None:
            return fixed
        actor = cast("User", request.user)
        if not actor.is_superuser:
            fixed += ("is_superuser", "user_permissions")
        if obj.pk == actor.pk:
            fixed += ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")
        return (*dict.fromkeys(fixed), "username")

    def formfield_for_manytomany(
        self, db_field: "ManyToManyField[Any, Any]", request: HttpRequest, **options: Any
    ) -> Any:
        if db_field.name == "groups":
            options["queryset"] = rights.groups_to_give(cast("User", request.user))
        return super().formfield_for_manytomany(db_field, request, **options)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save only changed fields, so that another operator's concurrent change is not
        overwritten."""
        own = {field.name for field in self.opts.concrete_fields}
        changed = [name for name in form.changed_data if name in own]
        obj.save(update_fields=changed if change else None)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or rights.reaches(cast("User", request.user), obj))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False
