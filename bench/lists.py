"""`python -m bench.lists [IMAGES]`: server time of all lists, searches, filters and details.

Needs DATABASE_URL of an empty PostgreSQL database; `bench.scale` makes one. It times all of
Slipway's work on a request in this process, without a network: middleware, views, templates and the
database.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from json import dumps
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402

from accounts.models import ApiKey, User  # noqa: E402
from accounts.rights import make_operator  # noqa: E402
from bench import million  # noqa: E402
from bench.processes import processor_seconds  # noqa: E402
from builds.models import Build  # noqa: E402
from images.models import Image  # noqa: E402
from startup.bootstrap import static  # noqa: E402

IMAGES = 1_000_000
TIMES = 5
SECONDS = 2.0
"""A request that is slower than this is not repeated."""
IMAGE_LIST, BUILD_LIST = "/admin/images/image/", "/admin/builds/build/"


@dataclass(frozen=True, slots=True)
class Measured:
    name: str
    milliseconds: float
    """The best of several runs, because other programs on the machine only add time."""
    cpu: float
    """Mean processor time of one request in milliseconds, here and in PostgreSQL."""
    queries: int


def addresses(images: int) -> Iterator[tuple[str, str, str]]:
    """A title, the caller (operator, key, owner or nobody), and the URL."""
    middle = Image.objects.select_related("owner").get(name__endswith=f"-{images // 2}")
    build = Build.objects.filter(image_id=middle.pk).order_by("number").first()
    assert build is not None
    year = middle.created_at.year
    for name, query in {
        "list": "",
        "page 2": "?p=2",
        "last page": f"?p={min(50, images // 100)}",
        "by age": "?o=5",
        "search, one": f"?q={images // 2}",
        "search, none": "?q=nothing-of-the-kind",
        "search, many": "?q=payments",
        "search, nearly all": "?q=-",
        "search, two letters": "?q=pa",
        "search, two letters of none": "?q=qz",
        "search, words": "?q=payments+api",
        "search, owner": "?q=user-17",
        "search, reference": f"?q={middle.owner}/{middle.name}:{middle.tag}",
        "search, part of a reference": f"?q={middle.owner}/pay",
        "search, id": f"?q={middle.pk}",
        "search, digest": f"?q={build.digest}",
        "queued": "?status=queued",
        "building": "?status=building",
        "failed": "?status=failed",
        "cancelled": "?status=cancelled",
        "succeeded": "?status=succeeded",
        "public": "?public__exact=1",
        "protected": "?protected__exact=1",
        "owner": "?owner=user-1",
        "owner, failed": "?owner=user-7&status=failed",
        "age, hour": "?age=hour",
        "age, older": "?age=older",
        "size, huge": "?size=huge",
        "size, none": "?size=none",
        "year": f"?created_at__year={year}",
        "day": f"?created_at__year={year}&created_at__month=3&created_at__day=3",
        "search in failed": "?q=payments&status=failed",
        "detail": f"{middle.pk}/change/",
    }.items():
        yield f"admin.images.{name}", "operator", f"{IMAGE_LIST}{query}"
    for name, query in {
        "list": "",
        "page 2": "?p=2",
        "last page": f"?p={min(50, images // 100)}",
        "oldest first": "?o=4",
        "search, one": f"?q={images // 2}",
        "search, none": "?q=nothing-of-the-kind",
        "search, many": "?q=payments",
        "search, nearly all": "?q=user",
        "search, two letters": "?q=us",
        "search, two letters of none": "?q=qz",
        "search, words": "?q=payments+api",
        "search, id": f"?q={build.pk}",
        "search, digest": f"?q={build.digest}",
        "queued": "?status=queued",
        "building": "?status=building",
        "failed": "?status=failed",
        "cancelled": "?status=cancelled",
        "ended, hour": "?ended=hour",
        "ended, week": "?ended=week",
        "fault": "?fault=service",
        "code": "?code=code-7",
        "code, none": "?code=unknown",
        "owner": "?owner=user-1",
        "owner, failed": "?owner=user-7&status=failed",
        "worker": "?worker=host-3",
        "worker, none": "?worker=nobody",
        "year": f"?queued_at__year={year}",
        "day": f"?queued_at__year={year}&queued_at__month=3&queued_at__day=3",
        "search in failed": "?q=payments&status=failed",
        "queue": "queue/",
        "failures, day": "failures/?ended=day",
        "failures, week": "failures/?ended=week",
        "detail": f"{build.pk}/change/",
    }.items():
        yield f"admin.builds.{name}", "operator", f"{BUILD_LIST}{query}"
    for name, path in {
        "index": "",
        "users": "accounts/user/",
        "users, search": "accounts/user/?q=user-17",
        "user": f"accounts/user/{middle.owner_id}/change/",
        "keys": "accounts/apikey/",
        "autocomplete": "autocomplete/?term=user-1&app_label=accounts&model_name=apikey"
        "&field_name=user",
    }.items():
        yield f"admin.{name}", "operator", f"/admin/{path}"
    for name, path in {
        "own": "",
        "own, page far back": f"?page={images // 400}",
        "own and public": "?include_public=true",
        "own and public, page far back": f"?include_public=true&page={images // 100}",
        "name, one": f"?include_public=true&name={images // 2}",
        "name, many": "?include_public=true&name=payments",
        "name, nearly all": "?include_public=true&name=-",
        "name, two rare letters": "?include_public=true&name=zq",
        "name, two letters of none": "?include_public=true&name=qz",
        "name, two letters of nearly all": "?include_public=true&name=e-",
        "name, many, failed": "?include_public=true&name=payments&status=failed",
        "name, two rare letters, failed": "?include_public=true&name=zq&status=failed",
        "tag": "?include_public=true&tag=v3.",
        "building": "?include_public=true&status=building",
        "failed": "?include_public=true&status=failed",
        "succeeded": "?include_public=true&status=succeeded",
        "own, failed": "?status=failed",
        "private": "?public=false",
        "created": f"?include_public=true&created_after={year}-03-01T00:00:00Z",
        "created long ago": f"?include_public=true&created_before={year - 1}-03-01T00:00:00Z",
        "by name": "?include_public=true&ordering=name",
        "oldest first": "?include_public=true&ordering=created_at",
        "one": "user-1/" + Image.objects.filter(owner__username="user-1")[0].name,
        "one by id": str(Image.objects.filter(public=True)[0].pk),
        "attempts": f"{Image.objects.filter(public=True)[0].pk}/builds",
    }.items():
        yield f"rest.{name}", "key", f"/images/{path}"
    for who in ("nobody", "owner"):
        for name, path in {
            "list": "",
            "page 100": "?page=100",
            "name, one": f"?name={images // 2}",
            "name, many": "?name=payments",
            "name, two rare letters": "?name=zq",
            "name, two letters of none": "?name=qz",
            "name, many, failed": "?name=payments&status=failed",
            "building": "?status=building",
            "failed": "?status=failed",
            "mine": "?whose=mine",
            "public": "?whose=public",
            "detail": f"i/{Image.objects.filter(public=True)[0].pk}",
        }.items():
            yield f"page.{who}.{name}", who, f"/{path}"


def askers() -> dict[str, Client]:
    owner = User.objects.get(username="user-1")
    operator = User.objects.filter(username="operator").first()
    if operator is None:
        operator = User.objects.create_user("operator")
        make_operator(operator)
    found = {"nobody": Client(), "owner": Client(), "operator": Client()}
    found["owner"].force_login(owner)
    found["operator"].force_login(operator)
    found["key"] = Client(headers={"Authorization": ApiKey.objects.issue(owner)[1]})
    for client in found.values():
        client.defaults["HTTP_HOST"] = "localhost"
    return found


def measure(client: Client, name: str, address: str) -> Measured:
    def ask() -> Any:
        answer = client.get(address)
        assert answer.status_code == 200, (name, address, answer.status_code, answer.content[:500])
        return answer

    ask()  # what is only slow the first time is done
    asked: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        ask()
    times: list[float] = []
    busy = _busy()
    while len(times) < TIMES and (len(times) < 2 or sum(times) < SECONDS):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    return Measured(name, 1000 * min(times), 1000 * (_busy() - busy) / len(times), len(asked))


def _busy() -> float:
    """Seconds of processor time so far, of this process and the backend of its connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    return time.process_time() + processor_seconds(backend)


def main(images: int) -> None:
    call_command("migrate", verbosity=0)
    static()
    if not Image.objects.exists():
        million.fill(images)
    clients = askers()
    only = sys.argv[2:]
    for name, who, address in addresses(images):
        if not only or any(each in name for each in only):
            print(dumps(asdict(measure(clients[who], name, address))), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else IMAGES)
