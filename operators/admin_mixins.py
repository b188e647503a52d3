"""Admin classes with the actions of a subject, on the list and on the page of each row."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from operators import bulk, views
from operators.action_definitions import Subject, Verb
from operators.changelists import BoundedAdmin

BY_DJANGO = {"delete": "delete_selected"}
"""Django's names for actions that it also has."""


class Operated(admin.ModelAdmin[Any]):
    """An admin whose actions are defined by `subject`."""

    subject: Subject[Any]
    change_list_template = "admin/operators/change_list.html"

    class Media:
        css = {"all": ["operators/admin.css"]}

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        verbs = self.subject.allowed(request.user)
        names = {verb: BY_DJANGO.get(verb.name, verb.name) for verb in verbs}
        return {
            name: (self._act_on_selected(verb), name, f"{verb.label}…")
            for verb, name in names.items()
        }

    def get_urls(self) -> list[Any]:
        return [*views.urls(self, self.subject), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        under_way = bulk.open_actions().filter(subject=self.subject.name)
        open_actions = [(each, self.subject.address("bulk", each.pk)) for each in under_way]
        context = {"open_actions": open_actions, **(extra_context or {})}
        return super().changelist_view(request, context)

    def _act_on_selected(self, verb: Verb[Any]) -> Callable[..., HttpResponse]:
        def act(_: Any, request: HttpRequest, rows: Any) -> HttpResponse:
            return views.selected(request, self.subject, verb, rows)

        act.__name__ = verb.name
        return act


class OperatedAdmin(Operated, BoundedAdmin):
    """An admin without forms: rows are read-only, and are changed only by actions of `subject`."""

    fields = ("id",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.subject.shown_to(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.subject.shown_to(request.user)
