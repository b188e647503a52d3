"""Attempts at an image as their owner has them: seen at their step, cancelled, made again."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.conftest import script
from tests.images.conftest import Send, built
from tests.images.rest.test_logs import body

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_image_tells_the_step_that_its_build_came_to(api: APIClient, send: Send) -> None:
    steps = "FROM scratch\nCOPY a.txt /\nRUN scripted: exit 1\nCOPY a.txt /b.txt\n"
    built(send(dockerfile=steps))
    build = api.get("/images/my-app:1.0").json()["build"]
    assert (build["status"], build["step"], build["steps"]) == ("failed", 3, 4)


def test_builds_are_listed_with_their_steps(api: APIClient, send: Send) -> None:
    steps = "FROM scratch\nENV A=b\nRUN scripted: cached\nRUN scripted: exit 1\nCOPY a.txt /\n"
    built(send(dockerfile=steps))
    [build] = api.get("/images/my-app:1.0/builds").json()["items"]
    told = build["step_list"]
    assert [(each["number"], each["dockerfile_line"]) for each in told] == [
        (number, number) for number in range(1, 6)
    ]
    assert [each["text"] for each in told] == steps.splitlines()
    assert [each["state"] for each in told] == [
        "succeeded",
        "succeeded",
        "cached",
        "failed",
        "waiting",
    ]
    assert {each["stage"] for each in told} == {""}
    assert told[3]["started"] <= told[3]["ended"]
    assert (told[4]["started"], told[4]["ended"]) == (None, None)


def test_a_queued_build_is_cancelled_at_once_and_only_once(api: APIClient, send: Send) -> None:
    send()
    answer = api.post("/images/my-app:1.0/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "error: cancelled")
    assert api.post("/images/my-app:1.0/cancel").status_code == 409


def test_an_image_is_built_again_from_what_was_sent(api: APIClient, send: Send) -> None:
    first = built(send(dockerfile=script("echo hello"))).build
    answer = api.post("/images/my-app:1.0/rebuild")
    assert (answer.status_code, answer.json()["build"]["number"]) == (202, 2)
    assert api.post("/images/my-app:1.0/rebuild").status_code == 409
    again = built(answer).build
    assert again.dockerfile == first.dockerfile
    assert again.api_status == "built and pushed"
    assert again.digest != first.digest
    found = api.get("/images/my-app:1.0/builds").json()
    assert [each["number"] for each in found["items"]] == [2, 1]


def test_a_list_is_narrowed_by_status(api: APIClient, send: Send) -> None:
    built(send(tag="good"))
    built(send(tag="bad", dockerfile=script("exit 1")))
    send(tag="waiting")
    send(tag="stopped")
    api.post("/images/my-app:stopped/cancel")
    for status, tag in (
        ("succeeded", "good"),
        ("failed", "bad"),
        ("queued", "waiting"),
        ("cancelled", "stopped"),
    ):
        found = api.get("/images/", {"status": status}).json()
        assert [image["tag"] for image in found["items"]] == [tag]
        assert found["total"] == 1
    assert api.get("/images/", {"status": "perhaps"}).status_code == 422


def test_a_finished_log_that_one_has_is_not_sent_again(api: APIClient, send: Send) -> None:
    built(send(dockerfile=script("echo grün")))
    path = "/images/my-app:1.0/logs"
    whole: Any = api.get(path)
    etag, sent = whole.headers["ETag"], body(whole).encode()
    assert int(whole.headers["Content-Length"]) == len(sent)
    assert api.get(path, HTTP_IF_NONE_MATCH=etag).status_code == 304
    part: Any = api.get(path, HTTP_RANGE="bytes=5-")
    assert (part.status_code, body(part).encode()) == (206, sent[5:])
    assert api.post("/images/my-app:1.0/rebuild").status_code == 202
    assert api.get(path, HTTP_IF_NONE_MATCH=etag).status_code == 200
