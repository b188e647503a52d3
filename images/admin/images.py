"""The list of images and the page of one image in the admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode

from builds.status import state_word
from common.humanize import ago, badge, duration, megabytes, took
from images.admin.actions import IMAGES
from images.admin.detail import detail
from images.admin.filters import AgeFilter, OwnerFilter, SizeFilter, StatusFilter
from images.admin.search import meant, words
from images.models import Image, ImageQuerySet
from operators.admin_mixins import OperatedAdmin


@admin.register(Image)
class ImageAdmin(OperatedAdmin):
    subject = IMAGES
    list_display = ("__str__", "status", "owned_by", "size", "age", "took", "marks")
    list_filter = (StatusFilter, "public", "protected", OwnerFilter, AgeFilter, SizeFilter)
    search_fields = ("name", "tag", "owner__username")
    searches = "Words of name, tag or owner; owner/name:tag; an id; a digest."
    date_hierarchy = "created_at"
    sortable_by = ("age",)
    ordering = ("-created_at", "-id")
    change_form_template = "admin/images/image/change_form.html"

    def get_queryset(self, request: HttpRequest) -> ImageQuerySet:
        return Image.objects.with_build()

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        found = meant(queryset, search_term) if search_term.strip() else None
        return words(queryset, search_term) if found is None else found, False

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        image: Image = kwargs["obj"]
        context.update(detail(request, image))
        return super().render_change_form(request, context, *args, **kwargs)

    # Columns

    @admin.display(description="status")
    def status(self, image: Image) -> str:
        return badge(state_word(image.build.state))

    @admin.display(description="owner")
    def owned_by(self, image: Image) -> str:
        name = image.owner.username
        address = reverse("admin:images_image_changelist")
        return format_html('<a href="{}?{}">{}</a>', address, urlencode({"owner": name}), name)

    @admin.display(description="size")
    def size(self, image: Image) -> str:
        good = image.good
        return megabytes(good.image_bytes) if good else ""

    @admin.display(description="age", ordering="created_at")
    def age(self, image: Image) -> str:
        return ago(image.created_at)

    @admin.display(description="took")
    def took(self, image: Image) -> str:
        return duration(took(image.build))

    @admin.display(description="marks", empty_value="")
    def marks(self, image: Image) -> str:
        """Labels for unusual properties. The usual ones are not shown."""
        marks = {"public": image.public, "protected": image.protected}
        return format_html_join(
            " ", '<span class="mark">{}</span>', ((mark,) for mark, said in marks.items() if said)
        )
