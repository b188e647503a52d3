from dataclasses import replace
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts.models import User
from builds import runner
from builds.completion import settle_failed
from builds.conf import BuildSettings
from builds.failures import INTERRUPTED
from builds.models import Build
from builds.status import Status
from images import catalog
from images.models import Image
from tests.conftest import script
from tests.images.conftest import Send, built

pytestmark = pytest.mark.django_db(transaction=True)

FAILING = script("exit 1")


def numbers(answer: Any) -> list[int]:
    return [each["number"] for each in answer.json()["items"]]


# Cancelling


def test_a_queued_build_is_cancelled_at_once(api: APIClient, send: Send) -> None:
    send()
    answer = api.post("/images/my-app:1.0/cancel")
    assert answer.status_code == 202
    assert answer.json()["status"] == "error: cancelled"
    assert answer.json()["build"]["status"] == "cancelled"


def test_a_running_build_is_told_to_end(api: APIClient, send: Send) -> None:
    send()
    Build.objects.all().move(Status.BUILDING, fence=1)
    answer = api.post("/images/my-app:1.0/cancel")
    assert (answer.status_code, answer.json()["build"]["status"]) == (202, "cancelling")
    assert api.post("/images/my-app:1.0/cancel").status_code == 202
    assert Build.objects.get().cancel_requested_at is not None


def test_there_is_nothing_to_cancel_when_the_build_has_ended(api: APIClient, send: Send) -> None:
    built(send())
    answer = api.post("/images/my-app:1.0/cancel")
    assert answer.status_code == 409
    assert "ended" in answer.json()["detail"]


def test_the_successor_of_a_lost_build_is_cancelled_in_its_place(send: Send) -> None:
    image_id = send().json()["image_id"]
    before = Image.objects.with_build().get(pk=image_id)
    Build.objects.all().move(Status.BUILDING, fence=1)
    settle_failed(before.build.pk, fence=1, to=Status.LOST, failure=INTERRUPTED)
    catalog.cancel(before)
    states = Build.objects.order_by("number").values_list("status", flat=True)
    assert list(states) == ["lost", "cancelled"]


def test_nobody_cancels_or_rebuilds_what_is_somebody_elses(
    strangers_api: APIClient, send: Send, owner: User
) -> None:
    send(public="true")
    for action in ("cancel", "rebuild"):
        answer = strangers_api.post(f"/images/{owner.username}/my-app:1.0/{action}")
        assert answer.status_code == 404
        assert APIClient().post(f"/images/{owner.username}/my-app:1.0/{action}").status_code == 401
    assert Build.objects.get().state is Status.QUEUED


# Building again


@pytest.mark.parametrize("dockerfile", [script("echo hello"), FAILING])
def test_an_ended_build_is_made_again_from_what_is_stored(
    api: APIClient, send: Send, sent: list[Any], dockerfile: str
) -> None:
    options = {"target": "t", "no_cache": "1", "pull": "1", "labels": '{"a": "b"}'}
    dockerfile = dockerfile.replace("scratch", "scratch AS t")
    first = built(send(dockerfile=dockerfile, build_args='{"A": "1"}', **options)).build
    answer = api.post("/images/my-app:1.0/rebuild")
    assert answer.status_code == 202
    assert answer.json()["build"]["number"] == 2
    assert answer.json()["status"] == "pending build"
    second = Build.objects.get(number=2)
    assert sent[-1] == second.pk
    for same in ("dockerfile", "build_args", "context_key", "context_sha256", "label"):
        assert getattr(second, same) == getattr(first, same)
    assert (second.target, second.no_cache, second.pull, second.labels) == (
        "t", True, True, {"a": "b"},
    )  # fmt: skip
    runner.run(second.pk)
    second.refresh_from_db()
    assert second.state is first.state
    assert second.digest != first.digest or not first.digest


def test_the_last_good_image_stays_while_it_is_built_again(api: APIClient, send: Send) -> None:
    good = built(send()).build.digest
    answer = api.post("/images/my-app:1.0/rebuild")
    assert answer.json()["digest"] == good
    assert answer.json()["build_completed_at"] is None


def test_nothing_is_built_again_while_a_build_is_under_way(api: APIClient, send: Send) -> None:
    send()
    answer = api.post("/images/my-app:1.0/rebuild")
    assert answer.status_code == 409
    assert "under way" in answer.json()["detail"]
    assert Build.objects.count() == 1


def test_nothing_is_built_again_without_its_context(api: APIClient, send: Send) -> None:
    built(send())
    Build.objects.update(context_key="")
    answer = api.post("/images/my-app:1.0/rebuild")
    assert answer.status_code == 409
    assert "send the image again" in answer.json()["detail"]


def test_building_again_counts_towards_the_daily_limit(
    api: APIClient, send: Send, deployment: BuildSettings, settings: Any
) -> None:
    settings.BUILDS = replace(deployment, daily_builds=1)
    built(send())
    answer = api.post("/images/my-app:1.0/rebuild")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert Build.objects.count() == 1


# Attempts


def test_attempts_are_listed_newest_first_by_pages(api: APIClient, send: Send) -> None:
    built(send(dockerfile=FAILING))
    built(send())
    api.post("/images/my-app:1.0/rebuild")
    answer = api.get("/images/my-app:1.0/builds")
    assert numbers(answer) == [3, 2, 1]
    assert {key: answer.json()[key] for key in ("total", "page", "limit")} == {
        "total": 3,
        "page": 0,
        "limit": 25,
    }
    queued, good, failed = answer.json()["items"]
    assert (queued["status"], queued["ended_at"], queued["failure"]) == ("queued", None, None)
    assert good["digest"].startswith("sha256:")
    assert (failed["digest"], failed["failure"]["fault"]) == (None, "user")
    assert numbers(api.get("/images/my-app:1.0/builds?limit=1&page=1")) == [2]
    assert api.get("/images/my-app:1.0/builds?page=-1").status_code == 422


def test_attempts_at_an_image_that_was_deleted_are_not_listed(api: APIClient, send: Send) -> None:
    send()
    api.delete("/images/my-app:1.0")
    send()
    assert numbers(api.get("/images/my-app:1.0/builds")) == [2]


def test_attempts_are_seen_by_whoever_sees_the_image(
    strangers_api: APIClient, send: Send, owner: User
) -> None:
    send()
    path = f"/images/{owner.username}/my-app:1.0/builds"
    assert strangers_api.get(path).status_code == 404
    Image.objects.update(public=True)
    assert numbers(strangers_api.get(path)) == [1]
    assert APIClient().get(path).status_code == 401


def test_a_thousand_attempts_cost_a_constant_number_of_queries(
    api: APIClient, send: Send, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    built(send())
    api.get("/images/")
    with django_assert_num_queries(3):
        api.get("/images/?limit=1")
    with django_assert_num_queries(3):
        api.get("/images/my-app:1.0/builds?limit=1")
    first = Build.objects.get()
    again = [first.again(restarts=0, free=False) for _ in range(1000)]
    for number, build in enumerate(again, 2):
        build.number, build.status = number, "failed"
    Build.objects.bulk_create(again)
    api.get("/users/me")  # making them may have taken longer than a key is remembered
    with django_assert_num_queries(3):
        assert len(api.get("/images/?limit=1").json()["items"]) == 1
    # More than a few are counted, and those before the page passed over.
    with django_assert_num_queries(3 + 2):
        assert api.get("/images/my-app:1.0/builds?limit=100").json()["total"] == 1001
    with django_assert_num_queries(1):
        api.get("/images/my-app:1.0")
