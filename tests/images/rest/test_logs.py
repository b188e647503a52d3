import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts.models import User
from builds import runner
from builds.completion import settle_failed
from builds.failures import INTERRUPTED
from builds.models import Build
from builds.status import Status
from tests.images.conftest import Send, built

pytestmark = pytest.mark.django_db(transaction=True)

LINES = "FROM scratch\nRUN scripted: echo one ;; echo two ;; stderr three\n"


def body(answer: Any) -> str:
    async def collect() -> bytes:
        return b"".join([part async for part in answer.streaming_content])

    return asyncio.run(collect()).decode()


def events(text: str) -> list[dict[str, str]]:
    """Server-sent events as their fields, the way the standard's parser splits them."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            found.append(fields)
    return found


def logs_of(text: str) -> list[str]:
    found = [json.loads(event["data"]) for event in events(text)]
    return [each["log"]["log"] for each in found if isinstance(each, dict)]


def test_a_finished_log_is_plain_text(api: APIClient, send: Send) -> None:
    image = built(send(dockerfile=LINES))
    answer = api.get(f"/images/{image.pk}/logs")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert f'filename="{image.pk}.log"' in answer.headers["Content-Disposition"]
    text = body(answer)
    assert "one\ntwo\nthree\n" in text
    assert text.count("\n") == image.build.log_lines


def test_a_finished_log_as_events_ends_with_done(api: APIClient, send: Send) -> None:
    image = built(send(dockerfile=LINES))
    answer = api.get("/images/my-app:1.0/logs", HTTP_ACCEPT="text/event-stream")
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    text = body(answer)
    assert text.startswith("retry: 1000\n\n")
    assert text.endswith(
        f'id: 1:{image.build.log_lines}:done\nevent: done\ndata: "built and pushed"\n\nDONE\n\n'
    )
    [first] = [event for event in events(text) if '"log":"one"' in event["data"]]
    data = json.loads(first["data"])
    assert data["log"]["log_type"] == "stdout"
    assert data["offset"] == first["id"] == f"1:{data['log']['line'] + 1}"
    assert data["log"]["ts"].endswith("Z")
    assert data["log"]["step"] == 2
    headings = [event["data"] for event in events(text) if '"heading":true' in event["data"]]
    assert [json.loads(each)["log"]["log"] for each in headings] == [
        "STEP 1/2: FROM scratch",
        f"STEP 2/2: {LINES.splitlines()[1]}",
    ]


def test_a_failed_build_tells_its_reason_as_the_last_stderr_line(
    api: APIClient, send: Send
) -> None:
    image = built(send(dockerfile="FROM scratch\nRUN scripted: exit 7\n"))
    text = body(api.get(f"/images/{image.pk}/logs", HTTP_ACCEPT="text/event-stream"))
    *_, last, done = events(text)
    log = json.loads(last["data"])["log"]
    assert log["log_type"] == "stderr"
    assert json.loads(done["data"]) == f"error: {log['log']}" == image.build.api_status


def test_every_offset_gives_exactly_what_remains(api: APIClient, send: Send) -> None:
    image = built(send(dockerfile=LINES))
    whole = body(api.get(f"/images/{image.pk}/logs"))
    lines = whole.splitlines()
    for start in range(len(lines) + 1):
        path = f"/images/{image.pk}/logs?offset=1:{start}"
        assert body(api.get(path)).splitlines() == lines[start:]
        as_events = body(api.get(path, HTTP_ACCEPT="text/event-stream"))
        assert logs_of(as_events) == lines[start:]


def test_last_event_id_wins_and_the_end_is_not_sent_twice(api: APIClient, send: Send) -> None:
    image = built(send(dockerfile=LINES))
    path = f"/images/{image.pk}/logs?offset=1:0"
    rest = api.get(path, HTTP_ACCEPT="text/event-stream", HTTP_LAST_EVENT_ID="1:2")
    assert len(logs_of(body(rest))) == image.build.log_lines - 2
    end = f"1:{image.build.log_lines}:done"
    assert api.get(path, HTTP_LAST_EVENT_ID=end).status_code == 204


@pytest.mark.parametrize("offset", ["x", "1", "1:x", "0:0", "-1:0", "7:0"])
def test_an_offset_that_was_never_given_out_is_refused(
    api: APIClient, send: Send, offset: str
) -> None:
    image = built(send())
    answer = api.get(f"/images/{image.pk}/logs", {"offset": offset})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "offset"]


def test_an_older_attempt_can_be_read_again(api: APIClient, send: Send) -> None:
    built(send(dockerfile="FROM scratch\nRUN scripted: echo first\nRUN scripted: exit 1\n"))
    image = built(send(dockerfile=LINES))
    old = body(api.get(f"/images/{image.pk}/logs?offset=1:0", HTTP_ACCEPT="text/event-stream"))
    assert "first" in logs_of(old)
    assert "error: " in old


def test_attempts_before_the_image_was_made_again_are_not_shown(api: APIClient, send: Send) -> None:
    image = built(send(dockerfile="FROM scratch\nRUN scripted: echo secret\n"))
    api.delete(f"/images/{image.pk}")
    built(send())
    assert Build.objects.filter(image_id=image.pk).count() == 2
    assert api.get(f"/images/{image.pk}/logs?offset=1:0").status_code == 422


def test_anybody_reads_the_log_of_a_public_image_and_nobody_that_of_a_private_one(
    send: Send, owner: User
) -> None:
    public = built(send(public="true"))
    private = built(send(name="private-app"))
    anonymous = APIClient()
    assert anonymous.get(f"/images/{public.pk}/logs").status_code == 200
    assert anonymous.get(f"/images/{owner.username}/my-app:1.0/logs").status_code == 200
    assert anonymous.get(f"/images/{private.pk}/logs").status_code == 404
    anonymous.credentials(HTTP_AUTHORIZATION="cpk_" + "0" * 98)
    answer = anonymous.get(f"/images/{public.pk}/logs")
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/json"


def test_a_running_builds_log_is_a_stream_even_when_text_is_asked_for(
    api: APIClient, send: Send
) -> None:
    image_id = send().json()["image_id"]
    answer = api.get(f"/images/{image_id}/logs", HTTP_ACCEPT="text/plain")
    assert answer.headers["Content-Type"] == "text/event-stream"
    answer.close()


def test_a_finished_log_is_known_by_its_tag_and_not_sent_twice(api: APIClient, send: Send) -> None:
    image = built(send(dockerfile=LINES))
    path = f"/images/{image.pk}/logs"
    first = api.get(path)
    tag = first.headers["ETag"]
    assert int(first.headers["Content-Length"]) == len(body(first).encode())
    again = api.get(path, HTTP_IF_NONE_MATCH=tag)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == tag
    assert api.get(f"{path}?offset=1:1", HTTP_IF_NONE_MATCH=tag).status_code == 200
    api.post(f"/images/{image.pk}/rebuild")
    runner.run(Build.objects.get(number=2).pk)
    assert api.get(path, HTTP_IF_NONE_MATCH=tag).status_code == 200


def test_parts_of_a_finished_log_are_sent_as_asked_for(api: APIClient, send: Send) -> None:
    image = built(send(dockerfile=LINES))
    path = f"/images/{image.pk}/logs?offset=1:1"
    full = api.get(path)
    whole = body(full)
    assert full.headers["Accept-Ranges"] == "bytes"
    part = api.get(path, HTTP_RANGE="bytes=3-9")
    assert part.status_code == 206
    assert part.headers["Content-Range"] == f"bytes 3-9/{len(whole)}"
    assert part.headers["Content-Length"] == "7"
    assert body(part) == whole[3:10]
    assert body(api.get(path, HTTP_RANGE="bytes=-5")) == whole[-5:]
    tag = full.headers["ETag"]
    assert api.get(path, HTTP_RANGE="bytes=0-1", HTTP_IF_RANGE=tag).status_code == 206
    assert api.get(path, HTTP_RANGE="bytes=0-1", HTTP_IF_RANGE='"other"').status_code == 200
    beyond = api.get(path, HTTP_RANGE=f"bytes={len(whole)}-")
    assert beyond.status_code == 416
    assert beyond.headers["Content-Type"] == "application/json"
    assert beyond.headers["Content-Range"] == f"bytes */{len(whole)}"


def test_the_head_of_a_log_is_sent_without_the_log(api: APIClient, send: Send) -> None:
    image = send().json()["image_id"]
    running = api.head(f"/images/{image}/logs")
    assert (running.headers["Content-Type"], running.content) == ("text/event-stream", b"")
    runner.run(Build.objects.get().pk)
    ended = api.head(f"/images/{image}/logs")
    assert ended.content == b""
    assert int(ended.headers["Content-Length"]) == Build.objects.get().log_bytes


def test_a_lost_attempts_log_is_a_stream_while_its_successor_runs(
    api: APIClient, send: Send
) -> None:
    image_id = send(dockerfile=LINES).json()["image_id"]
    first = Build.objects.get()
    Build.objects.all().move(Status.BUILDING, fence=1)
    settle_failed(first.pk, fence=1, to=Status.LOST, failure=INTERRUPTED)
    path = f"/images/{image_id}/logs?offset=1:0"
    answer = api.get(path, HTTP_ACCEPT="text/plain")
    assert answer.headers["Content-Type"] == "text/event-stream"
    answer.close()
    runner.run(Build.objects.get(number=2).pk)
    answer = api.get(path)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "one\ntwo\nthree\n" in body(answer)


@given(offset=st.from_regex(r"\A[0-9]{1,3}:[0-9]{1,6}(:done)?\Z") | st.text(max_size=9))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_offset_is_answered_with_lines_or_a_422(
    api: APIClient, send: Send, offset: str
) -> None:
    if not Build.objects.exists():
        built(send(dockerfile=LINES))
    answer = api.get("/images/my-app:1.0/logs", {"offset": offset})
    if answer.status_code == 200:
        assert not offset or offset.startswith("1:")
        line = int(offset.split(":")[1]) if offset else 0
        count = Build.objects.get().log_lines
        assert len(body(answer).splitlines()) == max(0, count - line)
    else:
        assert answer.status_code == 422
