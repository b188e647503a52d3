"""URLs of images. A reference may contain slashes, so paths with a suffix are matched first."""

from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from images.pages import account, actions, image_detail, image_list, raw_log
from images.pages.send import send
from images.rest.badge import BadgeView
from images.rest.builds import BuildsView, BuildView, CancelView, RebuildView
from images.rest.images import ManyView, OneView
from images.rest.log_lines import LinesView, SearchView
from images.rest.log_streams import EventsView, JsonLinesView, TextView
from images.rest.logos import LogoPathView, LogosView, LogoView
from images.rest.logs import LogsView
from images.rest.me import MeView
from images.rest.retention import RetentionView, UsageView


@csrf_exempt
def redirect(request: HttpRequest) -> HttpResponse:
    """Redirects `/images` to `/images/`, for any method, before any authentication."""
    response = HttpResponse(status=307)
    response["Location"] = "/images/"
    return response


ONE = OneView.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"})

urlpatterns = [
    path("", image_list.show, name="images"),
    path("new", send, name="send"),
    path("start", account.start, name="start"),
    path("account", account.show, name="account"),
    path("account/keys", account.make_key, name="key-make"),
    path("account/keys/<uuid:key_id>/revoke", account.revoke_key, name="key-revoke"),
    path("account/password", account.change_password, name="password"),
    path("i/<uuid:image_id>", image_detail.show, name="image"),
    path("i/<uuid:image_id>/log", raw_log.download, name="image-log"),
    path("i/<uuid:image_id>/cancel", actions.cancel, name="image-cancel"),
    path("i/<uuid:image_id>/rebuild", actions.rebuild, name="image-rebuild"),
    path("i/<uuid:image_id>/delete", actions.delete, name="image-delete"),
    path("i/<uuid:image_id>/describe", actions.describe, name="image-describe"),
    path("i/<path:ref>", image_detail.find),
    path("images", redirect),
    path("users/me", MeView.as_view({"get": "retrieve"})),
    path("images/", ManyView.as_view({"get": "list", "post": "create"})),
    re_path(r"^images/(?P<ref>.+)/logs/lines$", LinesView.as_view({"get": "retrieve"})),
    re_path(r"^images/(?P<ref>.+)/logs/search$", SearchView.as_view({"get": "retrieve"})),
    re_path(r"^images/(?P<ref>.+)/logs/events$", EventsView.as_view({"get": "retrieve"})),
    re_path(r"^images/(?P<ref>.+)/logs/text$", TextView.as_view({"get": "retrieve"})),
    re_path(r"^images/(?P<ref>.+)/logs/jsonl$", JsonLinesView.as_view({"get": "retrieve"})),
    re_path(r"^images/(?P<ref>.+)/logs$", LogsView.as_view({"get": "retrieve"})),
    re_path(r"^images/(?P<ref>.+)/badge\.svg$", BadgeView.as_view({"get": "retrieve"})),
    re_path(r"^images/(?P<ref>.+)/builds$", BuildsView.as_view({"get": "list"})),
    re_path(
        r"^images/(?P<ref>.+)/builds/(?P<number>[0-9]+)$", BuildView.as_view({"get": "retrieve"})
    ),
    re_path(r"^images/(?P<ref>.+)/cancel$", CancelView.as_view({"post": "create"})),
    re_path(r"^images/(?P<ref>.+)/rebuild$", RebuildView.as_view({"post": "create"})),
    re_path(r"^images/(?P<ref>.+)$", ONE),
    path(
        "users/me/retention", RetentionView.as_view({"get": "retrieve", "patch": "partial_update"})
    ),
    path("users/me/storage", UsageView.as_view({"get": "retrieve"})),
    path("logos/", LogosView.as_view({"post": "create"})),
    path("logos/<uuid:logo_id>.png", LogoPathView.as_view({"get": "retrieve"})),
    path("logos/<uuid:logo_id>.webp", LogoView.as_view({"get": "retrieve"})),
]
