"""The content of the tabs of an image's page, except the log."""

from collections.abc import Callable
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest

from builds.conf import build_settings
from builds.models import Build
from builds.status import Status
from images.models import Image
from images.pages.attempts import attempt_rows
from images.pages.contents import config_rows, contents_of, files_of, layer_rows
from images.pages.markdown import render_markdown
from images.pages.step_times import step_times

ATTEMPTS = 50
"""Attempts on one page of their list."""
Details = Callable[[HttpRequest, Image, Build], dict[str, Any]]


def _steps(request: HttpRequest, image: Image, build: Build) -> dict[str, Any]:
    whole = image.attempts.defer("dockerfile", "build_args", "labels")
    before = whole.filter(status=Status.SUCCEEDED, number__lt=build.number)
    return {"steps": step_times(whole.get(pk=build.pk), before.order_by("-number").first())}


def _attempts(request: HttpRequest, image: Image, build: Build) -> dict[str, Any]:
    oldest_first = request.GET.get("sort") == "number"
    found = image.attempts.with_step_times().order_by("number" if oldest_first else "-number")
    page = Paginator(found, ATTEMPTS).get_page(request.GET.get("page"))
    rows = attempt_rows(page.object_list, current=image.build.pk, good=image.good_id)
    return {"page": page, "rows": rows, "oldest_first": oldest_first}


def _image(request: HttpRequest, image: Image, build: Build) -> dict[str, Any]:
    """Of the attempt that is shown or, if it made no image, of the last good one."""
    whole = image.attempts.defer("dockerfile", "build_args", "labels", "log_steps", "step_list")
    good = whole.filter(status=Status.SUCCEEDED)
    of = good.filter(pk=build.pk).first() or good.filter(pk__in=[image.good_id]).first()
    if of is None:
        return {"of": build, "contents": {}, "pulls": []}
    before = good.filter(number__lt=of.number).order_by("-number").first()
    contents = contents_of(of)
    layers = layer_rows(contents, (before.contents or {}) if before else {})
    layer = request.GET.get("layer", "")
    layer = layer if any(row.digest == layer for row in layers) else ""
    files = files_of(of, layer) if layer else ""
    return {
        "of": of,
        "before": before,
        "grown": (of.image_bytes or 0) - (before.image_bytes or 0) if before else 0,
        "contents": contents,
        "config": config_rows(contents),
        "layers": layers,
        "layer": layer,
        "files": files,
        "trouble": files if isinstance(files, str) else "",
        "pulls": _pulls(image, of),
    }


def _pulls(image: Image, build: Build) -> list[tuple[str, str]]:
    """One command for each tool. An attempt that the tag no longer names is pulled by its
    digest."""
    settings = build_settings()
    by = f":{image.tag}" if build.pk == image.good_id else f"@{build.digest}"
    reference = f"{settings.registry}/{image.repository}{by}"
    insecure = settings.registry_insecure
    podman = "--tls-verify=false " if insecure else ""
    source = "--src-tls-verify=false " if insecure else ""
    return [
        ("docker", f"docker pull {reference}"),
        ("podman", f"podman pull {podman}{reference}"),
        ("skopeo", f"skopeo copy {source}docker://{reference} oci:image"),
    ]


def _readme(request: HttpRequest, image: Image, build: Build) -> dict[str, Any]:
    return {"rendered": render_markdown(image.readme)}


def _inputs(request: HttpRequest, image: Image, build: Build) -> dict[str, Any]:
    whole = image.attempts.defer("log_steps", "step_list", "step_times").get(pk=build.pk)
    return {
        "whole": whole,
        "lines": list(enumerate(whole.dockerfile.splitlines(), start=1)),
        "build_args": sorted(whole.build_args.items()),
        "labels": sorted(whole.labels.items()),
    }


DETAILS: dict[str, Details] = {
    "steps": _steps,
    "attempts": _attempts,
    "image": _image,
    "inputs": _inputs,
    "readme": _readme,
}
