"""An admin whose rows no form changes: what may be done to them are the verbs of a subject."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from api.changelists import BoundedAdmin
from operators import acting, bulk
from operators.subjects import Subject, Verb

BY_DJANGO = {"delete": "delete_selected"}
"""What Django calls an action, where it has it too."""


class OperatedAdmin(BoundedAdmin):
    """Looked at here, and changed through `subject` alone."""

    subject: Subject[Any]
    fields = ("id",)

    class Media:
        css = {"all": ["operators/admin.css"]}

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

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        names = {verb: BY_DJANGO.get(verb.name, verb.name) for verb in self._verbs(request)}
        return {
            name: (self._act_on_selected(verb), name, f"{verb.label}…")
            for verb, name in names.items()
        }

    def _verbs(self, request: HttpRequest) -> list[Verb[Any]]:
        return self.subject.allowed(request.user)

    def get_urls(self) -> list[Any]:
        return [*acting.urls(self, self.subject), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        under_way = bulk.open_actions().filter(subject=self.subject.name)
        open_actions = [(each, self.subject.address("bulk", each.pk)) for each in under_way]
        context = {"open_actions": open_actions, **(extra_context or {})}
        return super().changelist_view(request, context)

    def _act_on_selected(self, verb: Verb[Any]) -> Callable[..., HttpResponse]:
        def act(_: Any, request: HttpRequest, rows: Any) -> HttpResponse:
            return acting.selected(request, self.subject, verb, rows)

        act.__name__ = verb.name
        return act
