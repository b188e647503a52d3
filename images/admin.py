"""Images in the admin: looked at here, changed only through the catalog."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from images import catalog
from images.models import Image, ImageQuerySet


@admin.register(Image)
class ImageAdmin(admin.ModelAdmin[Image]):
    list_display = ("__str__", "status", "public", "protected", "created_at")
    list_select_related = ("owner", "target__current")
    list_filter = ("public", "protected")
    search_fields = ("name", "tag", "owner__username")
    show_full_result_count = False
    ordering = ("-created_at", "-id")
    fields = ("id", "owner", "name", "tag", "status", "readme", "public", "protected", "created_at")

    @admin.display
    def status(self, image: Image) -> str:
        return image.build.api_status

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Image | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Image | None = None) -> bool:
        if obj is not None and obj.protected:
            return False
        return super().has_delete_permission(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What is really going: not the rows that hang together in the database."""
        goes = [f"{image}: its tag in the registry, its context and its log" for image in objs]
        protected = [str(image) for image in objs if image.protected]
        return goes, {"images": len(goes)}, set(), protected

    def delete_model(self, request: HttpRequest, obj: Image) -> None:
        catalog.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: ImageQuerySet) -> None:  # type: ignore[override]
        for image in queryset:
            catalog.delete(image)
