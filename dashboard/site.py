"""Django's admin with the system page, and the switches for the queue and for workers."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse

from builds import lifecycle
from builds.models import Build, BuildQuerySet, Pause, Worker
from dashboard import system
from operators.audit import write_entry

LOOK, TURN = "builds.view_worker", "builds.change_worker"
QUEUE = {
    "pause": (
        "Pause the queue",
        "No worker takes another build until somebody resumes the queue. What runs goes on.",
    ),
    "resume": (
        "Resume the queue",
        "Workers take builds again at once, the first of the queue first.",
    ),
}
WORKER = {
    "drain": (
        "Drain",
        "This worker takes no other build, so builds may wait. What runs goes on.",
    ),
    "undrain": ("Undo the drain", "This worker takes builds again at once."),
}


DONE = {
    "pause": "The queue is paused",
    "resume": "The queue goes on",
    "drain": "No other build goes to",
    "undrain": "Builds go again to",
}


class OperatorsSite(AdminSite):
    site_title = site_header = "Slipway"
    index_title = "Operations"

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [
            path("system/", self.admin_view(self.system), name="system"),
            path("system/<slug:action>/", self.admin_view(self.switch_queue), name="switch_queue"),
            path(
                "system/workers/<worker>/<slug:action>/",
                self.admin_view(self.switch_worker),
                name="switch_worker",
            ),
            *super().get_urls(),
        ]

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        context = dict(extra_context or {})
        if request.user.has_perm(LOOK):
            context["system"] = system.summary()
        return super().index(request, context)

    def system(self, request: HttpRequest) -> HttpResponse:
        _require(request, LOOK)
        context = {
            **self.each_context(request),
            "title": "System",
            "system": system.whole(),
            "may_turn": request.user.has_perm(TURN),
        }
        return TemplateResponse(request, "admin/system.html", context)

    def switch_queue(self, request: HttpRequest, action: str) -> HttpResponse:
        """Pause or resume the queue, after a confirmation page."""

        def turn() -> bool:
            if action == "pause":
                return lifecycle.request_pause(by=request.user.get_username())
            return lifecycle.request_resume()

        pause = Pause(id=Pause.ROW)
        running = _going_on(Build.objects.running())
        return self._switch(request, QUEUE, action, turn, pause, "", running)

    def switch_worker(self, request: HttpRequest, worker: str, action: str) -> HttpResponse:
        """Drain or undrain a worker, after a confirmation page."""

        def turn() -> bool:
            if action == "drain":
                return lifecycle.request_drain(worker)
            return lifecycle.request_undrain(worker)

        _require(request, TURN)
        row = Worker.objects.filter(pk=worker).first()
        if row is None:
            messages.warning(request, f"The worker {worker} has gone.")
            return HttpResponseRedirect(reverse("admin:system"))
        running = _going_on(Build.objects.running().filter(worker=worker))
        return self._switch(request, WORKER, action, turn, row, worker, running)

    def _switch(
        self,
        request: HttpRequest,
        known: dict[str, tuple[str, str]],
        action: str,
        turn: Callable[[], bool],
        row: Pause | Worker,
        name: str,
        running: str,
    ) -> HttpResponse:
        _require(request, TURN)
        if action not in known:
            raise Http404
        label, effect = known[action]
        if request.method != "POST":
            context = {
                **self.each_context(request),
                "title": f"{label}: {name}" if name else label,
                "verb": {"label": label},
                "one": name,
                "consequences": [effect, running],
                "back": reverse("admin:system"),
            }
            return TemplateResponse(request, "admin/system_confirm.html", context)
        if turn():
            write_entry(
                request.user,
                model=type(row),
                object_id=row.pk,
                name=name or "the queue",
                text=f"{label}.",
            )
            messages.success(request, f"{DONE[action]} {name}".rstrip() + ".")
        else:
            messages.info(request, "Nothing to do: that was so already.")
        return HttpResponseRedirect(reverse("admin:system"))


def _going_on(builds: BuildQuerySet) -> str:
    count = builds.count()
    return "One build runs, and goes on." if count == 1 else f"{count} builds run, and go on."


def _require(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied
