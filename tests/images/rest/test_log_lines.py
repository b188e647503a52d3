"""Lines of a log by number and by what they hold, over HTTP."""

import asyncio
from typing import Any

import pytest
import zstandard
from rest_framework.test import APIClient

from accounts.models import User
from builds.logs.archive import archive
from images.models import Image
from tests.conftest import script
from tests.images.conftest import Send, built
from tests.images.rest.test_logs import body

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[False, True], ids=["chunks", "archive"])
def image(send: Send, request: pytest.FixtureRequest) -> Image:
    image = built(send(dockerfile=script("repeat 1200 of them", "stderr Strange (thing)")))
    if request.param:
        archive(image.build)
    return image


def texts(answer: Any) -> list[str]:
    return [line[1] for line in answer.json()["lines"]]


def test_any_lines_are_given_by_their_numbers(api: APIClient, image: Image) -> None:
    whole = body(api.get(f"/images/{image.pk}/logs")).splitlines()
    path = f"/images/{image.pk}/logs/lines"
    first = api.get(path).json()
    assert first["total"] == len(whole)
    assert first["ended"] is True
    assert (first["state"], first["status"]) == ("succeeded", "built and pushed")
    assert (len(first["lines"]), first["next"]) == (500, "1:500")
    assert "steps" not in first
    for start, count in ((0, 1), (700, 100), (0, 2000), (len(whole) - 3, 500)):
        answer = api.get(path, {"from": start, "count": count})
        assert texts(answer) == whole[start : start + count]
    assert texts(api.get(path, {"from": len(whole)})) == []


def test_steps_are_told_with_their_first_lines(api: APIClient, image: Image) -> None:
    path = f"/images/{image.pk}/logs/lines"
    answer = api.get(path, {"count": 2000, "steps": "true"})
    steps = answer.json()["steps"]
    assert steps
    for step, line, text, at in steps:
        assert text.startswith(f"STEP {step}/")
        assert answer.json()["lines"][line] == ["stdout", text, at, step]


def test_steps_are_told_with_their_states_and_times(api: APIClient, image: Image) -> None:
    path = f"/images/{image.pk}/logs/lines"
    answer = api.get(path, {"count": 2000, "steps": "true"}).json()
    told = answer["step_list"]
    assert [each["number"] for each in told] == [1, 2, 3]
    assert {each["state"] for each in told} == {"succeeded"}
    times = [line[2] for line in answer["lines"] if line[3] == 2]
    assert told[1]["started"] <= min(times) <= max(times)
    assert told[1]["started"] <= told[1]["ended"] <= told[2]["started"]
    assert "step_list" not in api.get(path).json()


def test_a_search_finds_all_lines_and_counts_them(api: APIClient, image: Image) -> None:
    path = f"/images/{image.pk}/logs/search"
    found = api.get(path, {"q": "of them"}).json()
    assert (found["total"], len(found["hits"])) == (1201, 1000)
    rest = api.get(path, {"q": "of them", "from": found["next"]}).json()
    assert (rest["total"], len(rest["hits"]), rest["next"]) == (1201, 201, None)
    hits = api.get(path, {"q": "strange (", "ignore_case": "true"}).json()["hits"]
    _heading, (number, text) = hits
    [line] = api.get(f"/images/{image.pk}/logs/lines", {"from": number, "count": 1}).json()["lines"]
    assert line[:2] == ["stderr", text] == ["stderr", "Strange (thing)"]


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("lines", {"from": "-1"}),
        ("lines", {"count": "0"}),
        ("lines", {"count": "2001"}),
        ("lines", {"attempt": "first"}),
        ("lines", {"steps": "perhaps"}),
        ("search", {}),
        ("search", {"q": ""}),
        ("search", {"q": "x" * 1001}),
        ("search", {"q": "x", "count": "10001"}),
        ("search", {"q": "x", "ignore_case": "perhaps"}),
    ],
)
def test_wrong_parameters_are_named(
    api: APIClient, send: Send, path: str, wrong: dict[str, str]
) -> None:
    image_id = send().json()["image_id"]
    answer = api.get(f"/images/{image_id}/logs/{path}", wrong)
    assert answer.status_code == 422
    name = next((name for name in wrong if wrong[name] != "x"), "q")
    assert answer.json()["detail"][0]["loc"] == ["query", name]


def test_an_attempt_that_is_not_there_is_not_found(api: APIClient, send: Send) -> None:
    image_id = send().json()["image_id"]
    for path in ("lines?attempt=7", "search?q=x&attempt=7"):
        assert api.get(f"/images/{image_id}/logs/{path}").status_code == 404


def test_only_who_sees_an_image_reads_its_lines(
    send: Send, strangers_api: APIClient, owner: User
) -> None:
    image = built(send())
    for path in ("lines", "search?q=hello"):
        assert strangers_api.get(f"/images/{image.pk}/logs/{path}").status_code == 404
        assert APIClient().get(f"/images/{image.pk}/logs/{path}").status_code == 404
    Image.objects.update(public=True)
    for path in ("lines", "search?q=hello"):
        assert (
            APIClient().get(f"/images/{owner.username}/my-app:1.0/logs/{path}").status_code == 200
        )


def test_a_finished_log_goes_out_as_it_is_stored_to_who_takes_zstd(
    api: APIClient, image: Image
) -> None:
    path = f"/images/{image.pk}/logs"
    plain = api.get(path)
    answer = api.get(path, HTTP_ACCEPT_ENCODING="gzip, zstd")
    if not image.attempts.get().archive_key:
        assert "Content-Encoding" not in answer.headers
        return
    assert answer.headers["Content-Encoding"] == "zstd"
    assert answer.headers["ETag"] != plain.headers["ETag"]
    assert answer.headers["Vary"] == "Accept-Encoding"
    size = int(answer.headers["Content-Length"])

    async def stored() -> bytes:
        return b"".join([part async for part in answer.streaming_content])

    data = asyncio.run(stored())
    assert len(data) == size
    text = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    assert text.decode() == body(plain)
    for headers in (
        {"HTTP_ACCEPT_ENCODING": "zstd", "HTTP_RANGE": "bytes=0-9"},
        {"HTTP_ACCEPT_ENCODING": "zstd;q=0"},
        {"HTTP_ACCEPT_ENCODING": "gzip"},
    ):
        assert "Content-Encoding" not in api.get(path, **headers).headers
    assert (
        "Content-Encoding" not in api.get(f"{path}?offset=1:1", HTTP_ACCEPT_ENCODING="zstd").headers
    )


def test_any_bytes_of_a_finished_log_can_be_asked_for(api: APIClient, image: Image) -> None:
    path = f"/images/{image.pk}/logs"
    whole = body(api.get(path)).encode()
    for start, stop in ((0, 1), (5, 5000), (len(whole) - 7, len(whole))):
        answer = api.get(path, HTTP_RANGE=f"bytes={start}-{stop - 1}")
        assert answer.status_code == 206
        assert body(answer).encode() == whole[start:stop]
    lines = whole.decode().splitlines()
    for line in (1, 700, len(lines)):
        assert body(api.get(f"{path}?offset=1:{line}")).splitlines() == lines[line:]
