"""The consequences of an admin action on images, shown before the confirmation."""

from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.template.defaultfilters import pluralize

from builds.models import Build
from common.humanize import megabytes
from images.models import Image
from operators.action_definitions import Verb


def consequences(verb: Verb[Image], images: "QuerySet[Image]") -> list[str]:
    """The consequences in sentences. Two queries for any number of images."""
    under_way = Q(state__in=["queued", "building"])
    found = (
        images.select_related(None)
        .order_by()
        .aggregate(
            all=Count("pk"),
            kept=Count("pk", filter=Q(protected=True)),
            shown=Count("pk", filter=Q(public=True)),
            pushed=Count("pk", filter=Q(good__isnull=False)),
            pushed_free=Count("pk", filter=Q(good__isnull=False, protected=False)),
            size_free=Sum("good__image_bytes", filter=Q(protected=False)),
            under_way_free=Count("pk", filter=under_way & Q(protected=False)),
            queued=Count("pk", filter=Q(state="queued")),
            under_way=Count("pk", filter=under_way),
            buildable=Count("pk", filter=~Q(current__context_key="") & ~under_way),
            freed=Count("pk", filter=Q(protected=False)),
        )
    )
    say = {"delete": _delete, "rebuild": _rebuild, "cancel": _cancel}.get(verb.name)
    if say is not None:
        return list(say(found, images))
    return list(_describe(verb.name, found))


def _delete(found: dict[str, Any], images: "QuerySet[Image]") -> Iterator[str]:
    going = images.filter(protected=False)
    attempts = Build.objects.filter(image_id__in=going.order_by().values("pk"), discarded_at=None)
    if found["freed"]:
        size = f", {megabytes(found['size_free'])}" if found["size_free"] else ""
        tags = _n(found["pushed_free"], "tag")
        if found["all"] == found["pushed_free"] == 1:
            image = images.get()
            tags = f"the tag {image.repository}:{image.tag}"
        if found["pushed_free"]:
            yield f"{tags} in the registry{size}, removed for good"
        logs = pluralize(count := attempts.count(), "its log,their logs")
        yield f"{_n(count, 'attempt')} with {logs}, removed for good"
        yield "the contexts that are stored for building them again, removed for good"
    if found["under_way_free"]:
        yield f"{_n(found['under_way_free'], 'build')} under way, which will be cancelled"
    if found["kept"]:
        verb = "is" if found["kept"] == 1 else "are"
        yield (
            f"{_n(found['kept'], 'image')} {verb} protected and will not be deleted: "
            "take the protection off first"
        )


def _rebuild(found: dict[str, Any], images: "QuerySet[Image]") -> Iterator[str]:
    yield (
        f"{_n(found['buildable'], 'new attempt')}, from the Dockerfile and the context of the last "
        "one, and not charged to anybody"
    )
    if found["pushed"]:
        yield "The last good build stays to be pulled until the new one is pushed."
    if found["under_way"]:
        yield f"{_n(found['under_way'], 'build')} under way will be let be"
    rest = found["all"] - found["buildable"] - found["under_way"]
    if rest:
        yield f"{_n(rest, 'image')} cannot be built again: the context is no longer stored"


def _cancel(found: dict[str, Any], images: "QuerySet[Image]") -> Iterator[str]:
    running = found["under_way"] - found["queued"]
    yield f"{_n(found['queued'], 'build')} in the queue will end at once"
    yield f"{_n(running, 'running build')} will end within seconds, its work thrown away"
    rest = found["all"] - found["under_way"]
    if rest:
        yield f"{_n(rest, 'image')} will be let be: the last build has ended"
    yield "Logs, contexts and what was pushed before stay."


def _describe(name: str, found: dict[str, Any]) -> Iterator[str]:
    count, public = found["all"], found["shown"]
    texts = {
        "protect": (found["freed"], "cannot be deleted by anybody before the protection is off"),
        "unprotect": (found["kept"], "can be deleted by their owners again"),
        "publish": (count - public, "can be seen and pulled by anybody, their logs read"),
        "hide": (public, "can be seen and pulled by their owners only"),
    }
    changed, text = texts[name]
    yield f"{_n(changed, 'image')} {text}"
    if count - changed:
        yield f"{_n(count - changed, 'image')} already so"


def _n(count: int, noun: str) -> str:
    return f"{count:,} {noun}{pluralize(count)}"
