"""What is not understood is refused by name, and a rebuild's options are used."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from builds.models import Build
from tests.images.conftest import Send, built, form

pytestmark = pytest.mark.django_db(transaction=True)


def named(answer: Any) -> list[list[str]]:
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert all(each["type"] == "extra_forbidden" for each in answer.json()["detail"])
    return [each["loc"] for each in answer.json()["detail"]]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/images/"),
        ("get", "/images/my-app:1.0"),
        ("delete", "/images/my-app:1.0"),
        ("get", "/images/my-app:1.0/builds"),
        ("get", "/images/my-app:1.0/logs"),
        ("get", "/images/my-app:1.0/logs/lines"),
        ("get", "/images/my-app:1.0/logs/search"),
        ("get", "/images/my-app:1.0/logs/events"),
        ("get", "/images/my-app:1.0/logs/jsonl"),
        ("post", "/images/my-app:1.0/cancel"),
        ("post", "/images/my-app:1.0/rebuild"),
        ("get", "/api_keys/"),
        ("get", "/users/me"),
    ],
)
def test_unknown_parameters_are_named(api: APIClient, send: Send, method: str, path: str) -> None:
    built(send())
    answer = getattr(api, method)(f"{path}?limt=1&colour=red")
    assert named(answer) == [["query", "limt"], ["query", "colour"]]
    assert Build.objects.count() == 1


def test_a_stranger_is_not_told_of_parameters(send: Send) -> None:
    send()
    assert APIClient().get("/images/?limt=1").status_code == 401


def test_an_unknown_field_of_an_order_is_named_beside_wrong_ones(
    api: APIClient, owner: Any, deployment: Any
) -> None:
    sent = form(owner.username, dockerfle="FROM scratch", public="perhaps")
    answer = api.post("/images/", sent, format="multipart")
    locations = [each["loc"] for each in answer.json()["detail"]]
    assert locations == [["body", "public"], ["body", "dockerfle"]]
    assert "there are: wait, build_context" in answer.json()["detail"][1]["msg"]


def test_unknown_fields_of_changes_and_rebuilds_are_named(api: APIClient, send: Send) -> None:
    built(send())
    for answer in (
        api.patch("/images/my-app:1.0", {"pubilc": True}, format="json"),
        api.post("/images/my-app:1.0/rebuild", {"pubilc": True}, format="json"),
    ):
        assert named(answer) == [["body", "pubilc"]]


def test_a_rebuild_takes_options_and_keeps_the_others(api: APIClient, send: Send) -> None:
    built(send(build_args='{"A": "1", "B": "2"}', pull="true"))
    sent = {"build_args": {"A": "3"}, "no_cache": True, "target": "0"}
    answer = api.post("/images/my-app:1.0/rebuild", sent, format="json")
    assert answer.status_code == 202
    build = Build.objects.get(number=2)
    assert (build.build_args, build.target) == ({"A": "3"}, "0")
    assert (build.no_cache, build.pull) == (True, True)
    assert Build.objects.get(number=1).build_args == {"A": "1", "B": "2"}


def test_a_rebuild_without_a_body_is_as_the_last_one(api: APIClient, send: Send) -> None:
    built(send(build_args='{"A": "1"}', no_cache="true"))
    assert api.post("/images/my-app:1.0/rebuild").status_code == 202
    build = Build.objects.get(number=2)
    assert (build.build_args, build.no_cache) == ({"A": "1"}, True)


@pytest.mark.parametrize(
    ("sent", "location"),
    [
        ({"build_args": {"BUILDKIT_SYNTAX": "x"}}, ["body", "build_args"]),
        ({"build_args": {"A B": "x"}}, ["body", "build_args"]),
        ({"build_args": {"A": 1}}, ["body", "build_args", "A"]),
        ({"build_args": "A=1"}, ["body", "build_args"]),
        ({"build_args": {"A": "x" * 70_000}}, ["body", "build_args"]),
        ({"target": "a b"}, ["body", "target"]),
        ({"no_cache": "yes"}, ["body", "no_cache"]),
        ({"pull": 1}, ["body", "pull"]),
    ],
)
def test_options_that_cannot_be_are_named(
    api: APIClient, send: Send, sent: dict[str, Any], location: list[str]
) -> None:
    built(send())
    answer = api.post("/images/my-app:1.0/rebuild", sent, format="json")
    assert answer.status_code == 422
    assert [each["loc"] for each in answer.json()["detail"]] == [location]
    assert Build.objects.count() == 1
