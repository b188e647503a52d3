"""Logs by address: always events, always text, always lines of JSON."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from builds import runner
from builds.completion import settle_failed
from builds.failures import INTERRUPTED
from builds.models import Build
from builds.status import Status
from images.models import Image
from tests.images.conftest import Send, built
from tests.images.rest.test_logs import body, events, logs_of

pytestmark = pytest.mark.django_db(transaction=True)

LINES = (
    "FROM scratch\nRUN scripted: echo one ;; echo two ;; stderr three\nRUN scripted: echo four\n"
)


@pytest.fixture
def image(send: Send) -> Image:
    return built(send(dockerfile=LINES))


def rows(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body(answer).splitlines()]


def beginning(answer: Any, pieces: int) -> str:
    """Some pieces of an answer that goes on."""

    async def collect() -> bytes:
        found = b""
        source = aiter(answer.streaming_content)
        for _ in range(pieces):
            found += await anext(source)
        return found

    return asyncio.run(collect()).decode()


def test_each_address_has_its_own_type_whatever_is_accepted(api: APIClient, send: Send) -> None:
    types = {
        "events": "text/event-stream",
        "text": "text/plain; charset=utf-8",
        "jsonl": "application/x-ndjson",
    }
    image_id = send(dockerfile=LINES).json()["image_id"]
    for ended in (False, True):
        if ended:
            runner.run(Build.objects.get().pk)
        for address, content_type in types.items():
            for accept in ("*/*", "text/event-stream", "text/plain", "application/json"):
                path = f"/images/{image_id}/logs/{address}"
                answer = api.get(path, HTTP_ACCEPT=accept)
                assert answer.status_code == 200
                assert answer["Content-Type"] == content_type
                answer.close()
                assert api.head(path)["Content-Type"] == content_type


def test_every_block_of_the_events_has_data(api: APIClient, image: Image) -> None:
    text = body(api.get(f"/images/{image.pk}/logs/events"))
    blocks = text.removesuffix("\n\n").split("\n\n")
    assert all("\ndata: " in block for block in blocks)
    assert blocks[0].startswith("retry: 1000\nid: 1:1\n")
    assert blocks[-1].splitlines()[-2:] == ['data: "built and pushed"', "DONE"]
    whole = body(api.get(f"/images/{image.pk}/logs", HTTP_ACCEPT="text/event-stream"))
    assert logs_of(text) == logs_of(whole)


def test_events_go_on_from_a_cursor_and_end_once(api: APIClient, image: Image) -> None:
    path = f"/images/{image.pk}/logs/events"
    last = events(body(api.get(path)))[-1]["id"]
    assert api.get(path, HTTP_LAST_EVENT_ID=last).status_code == 204
    rest = events(body(api.get(f"{path}?offset=1:2")))
    assert len(rest) == image.build.log_lines - 2 + 1
    assert api.get(f"{path}?offset=x").status_code == 422


def test_text_is_what_the_old_address_gives(api: APIClient, image: Image) -> None:
    old, new = api.get(f"/images/{image.pk}/logs"), api.get(f"/images/{image.pk}/logs/text")
    assert body(old) == body(new)
    assert new["ETag"] == old["ETag"]
    again = api.get(f"/images/{image.pk}/logs/text", HTTP_IF_NONE_MATCH=old["ETag"])
    assert again.status_code == 304
    part = api.get(f"/images/{image.pk}/logs/text", HTTP_RANGE="bytes=0-3")
    assert (part.status_code, len(body(part))) == (206, 4)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("stream=stderr", ["three"]),
        ("step=2&stream=stdout&tail=2", ["one", "two"]),
        ("step=2&stream=stderr&tail=9", ["three"]),
        ("tail=0", []),
        ("tail=1&stream=stderr&follow=true", ["three"]),
        ("since=1h&stream=stderr", ["three"]),
        ("since=0s", []),
        ("since=2999-01-01T00:00:00Z", []),
        ("since=2999-01-01T00:00:00Z&follow=true", []),
        ("step=9", []),
    ],
)
def test_some_lines_are_chosen(
    api: APIClient, image: Image, query: str, expected: list[str]
) -> None:
    text = body(api.get(f"/images/{image.pk}/logs/text?{query}"))
    assert text.splitlines() == expected
    told = rows(api.get(f"/images/{image.pk}/logs/jsonl?{query}"))
    assert [each["text"] for each in told[:-1]] == expected
    assert told[-1] == {
        "type": "done",
        "attempt": 1,
        "state": "succeeded",
        "status": "built and pushed",
    }


@pytest.mark.parametrize("count", [0, 1, 7, 99])
def test_the_end_of_a_log_is_as_long_as_asked(api: APIClient, image: Image, count: int) -> None:
    whole = body(api.get(f"/images/{image.pk}/logs/text")).splitlines()
    some = body(api.get(f"/images/{image.pk}/logs/text?tail={count}")).splitlines()
    assert some == whole[max(0, len(whole) - count) :]


def test_times_stand_before_the_lines(api: APIClient, image: Image) -> None:
    text = body(api.get(f"/images/{image.pk}/logs/text?timestamps=true&stream=stderr"))
    at, _, line = text.rstrip("\n").partition(" ")
    assert line == "three"
    [row, _] = rows(api.get(f"/images/{image.pk}/logs/jsonl?stream=stderr"))
    assert (row["ts"], row["step"], row["stream"]) == (at, 2, "stderr")


def test_a_download_has_a_name_and_is_saved(api: APIClient, image: Image) -> None:
    for query in ("", "tail=1&"):
        answer = api.get(f"/images/{image.pk}/logs/text?{query}download=true")
        name = 'attachment; filename="owner-my-app-1.0-build-1.log"'
        assert answer["Content-Disposition"] == name
        shown = api.get(f"/images/{image.pk}/logs/text?{query}")
        assert shown["Content-Disposition"].startswith("inline")
    answer = api.get(f"/images/{image.pk}/logs/jsonl?download=1")
    assert answer["Content-Disposition"].endswith('build-1.jsonl"')
    answer.close()


def test_a_running_builds_log_ends_where_it_stands_unless_it_is_followed(
    api: APIClient, send: Send
) -> None:
    image_id = send(dockerfile=LINES).json()["image_id"]
    assert body(api.get(f"/images/{image_id}/logs/text")) == ""
    assert rows(api.get(f"/images/{image_id}/logs/jsonl")) == []
    followed = api.get(f"/images/{image_id}/logs/text?follow=true")
    runner.run(Build.objects.get().pk)
    assert "four" in body(followed)


def test_attempts_are_read_by_number_at_every_address(api: APIClient, send: Send) -> None:
    built(send(dockerfile="FROM scratch\nRUN scripted: echo first\nRUN scripted: exit 1\n"))
    image = built(send(dockerfile=LINES))
    for address in ("logs", "logs/events", "logs/text", "logs/jsonl"):
        path = f"/images/{image.pk}/{address}"
        assert "first" in body(api.get(f"{path}?attempt=1"))
        for query in ("?attempt=2", "?attempt=0", ""):
            text = body(api.get(f"{path}{query}"))
            assert "four" in text
            assert "first" not in text
        missing = api.get(f"{path}?attempt=3")
        assert (missing.status_code, missing.json()["code"]) == (404, "attempt_not_found")
    assert rows(api.get(f"/images/{image.pk}/logs/jsonl?attempt=1"))[-1]["state"] == "failed"
    mixed = api.get(f"/images/{image.pk}/logs?attempt=1&offset=2:0")
    assert mixed.status_code == 422


def test_a_lost_attempts_log_goes_on_with_its_successors(api: APIClient, send: Send) -> None:
    image_id = send(dockerfile=LINES).json()["image_id"]
    first = Build.objects.get()
    Build.objects.all().move(Status.BUILDING, fence=1)
    settle_failed(first.pk, fence=1, to=Status.LOST, failure=INTERRUPTED)
    path = f"/images/{image_id}/logs"
    assert not [row for row in rows(api.get(f"{path}/jsonl?attempt=1")) if row["type"] == "done"]
    runner.run(Build.objects.get(number=2).pk)
    for query in ("", "&follow=1", "&tail=100"):
        told = rows(api.get(f"{path}/jsonl?attempt=1{query}"))
        assert [row["text"] for row in told if row["type"] == "line"].count("four") == 1
        assert (told[-1]["type"], told[-1]["attempt"]) == ("done", 2)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("tail=-1", ["tail"]),
        ("tail=all&step=0&stream=both&since=yesterday", ["tail", "since", "step", "stream"]),
        ("follow=maybe", ["follow"]),
        ("lines=3&attempt=1", ["lines"]),
    ],
)
def test_what_is_not_understood_is_named(
    api: APIClient, image: Image, query: str, names: list[str]
) -> None:
    answer = api.get(f"/images/{image.pk}/logs/text?{query}")
    assert answer.status_code == 422
    assert [each["loc"] for each in answer.json()["detail"]] == [["query", name] for name in names]


def test_strangers_read_public_logs_only(send: Send, strangers_api: APIClient) -> None:
    public, private = built(send(public="true")), built(send(name="private-app"))
    for address in ("events", "text", "jsonl"):
        for client in (strangers_api, APIClient()):
            assert client.get(f"/images/{public.pk}/logs/{address}").status_code == 200
            refused = client.get(f"/images/{private.pk}/logs/{address}")
            assert (refused.status_code, refused["Content-Type"]) == (404, "application/json")


def test_a_reader_who_may_not_read_any_more_is_cut_off(
    api: APIClient, image: Image, send: Send
) -> None:
    answers = [
        api.get(f"/images/{image.pk}/logs/{address}") for address in ("text?tail=9", "jsonl")
    ]
    denied = api.get(f"/images/{image.pk}/logs/events")
    image.owner.api_keys.all().revoke()  # type: ignore[attr-defined]
    for answer in answers:
        with pytest.raises(Exception, match="may not read image"):
            body(answer)
    text = body(denied)
    assert text.endswith('data: "error: this log may not be read any more"\nDONE\n\n')


def test_lines_before_a_time_are_left_out(api: APIClient, image: Image) -> None:
    later = (timezone.now() + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    sooner = (timezone.now() - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert body(api.get(f"/images/{image.pk}/logs/text", {"since": later})) == ""
    assert "one" in body(api.get(f"/images/{image.pk}/logs/text", {"since": sooner}))
