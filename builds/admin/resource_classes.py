"""Admin pages of resource classes."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from builds.models import Build, ResourceClass, ResourceClassGrant
from builds.resource_classes import settings_size
from builds.status import Status


class GrantInline(admin.TabularInline[ResourceClassGrant, ResourceClass]):
    model = ResourceClassGrant
    autocomplete_fields = ("user",)
    extra = 0
    verbose_name_plural = "users who may use it where it is not for everybody"

    # The permission to change a class includes its grants.
    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("builds.view_resourceclass")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("builds.change_resourceclass")

    has_change_permission = has_delete_permission = has_add_permission


@admin.register(ResourceClass)
class ResourceClassAdmin(admin.ModelAdmin[ResourceClass]):
    list_display = ("name", "cpus", "memory_mb", "disk_mb", "deadline", "is_default", "everybody")
    fields = ("name", "cpus", "memory_mb", "disk_mb", "deadline", "is_default", "everybody")
    inlines = (GrantInline,)
    change_list_template = "admin/builds/resourceclass/change_list.html"

    def get_readonly_fields(self, request: HttpRequest, obj: ResourceClass | None = None) -> Any:
        return ("name",) if obj else ()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        told = {"settings_size": settings_size(), **(extra_context or {})}
        return super().changelist_view(request, told)

    def has_delete_permission(self, request: HttpRequest, obj: ResourceClass | None = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        waiting = Build.objects.filter(status=Status.QUEUED)
        return allowed and (obj is None or not waiting.filter(resource_class=obj.pk).exists())

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """No bulk delete: classes must be deleted one at a time, as those with waiting builds
        must stay."""
        return {}
