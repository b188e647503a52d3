"""How logs end: always, for every reader, with the reason, and not before the status says so."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from builds import runner
from builds.conf import BuildSettings
from builds.models import Build
from tests.conftest import script
from tests.images.conftest import Send, built
from tests.images.rest.test_logs import body, events, logs_of

pytestmark = pytest.mark.django_db(transaction=True)

Change = Callable[[BuildSettings], BuildSettings]


@pytest.mark.parametrize(
    ("order", "change", "reason"),
    [
        ({"dockerfile": script("exit 7")}, None, "7"),
        ({"dockerfile": script("fail base no such base")}, None, "no such base"),
        ({"dockerfile": script("broken the disk is full")}, None, "the disk is full"),
        ({"dockerfile": "RUN no from\n"}, None, "FROM"),
        ({"build_context": SimpleUploadedFile("x.zip", b"PK\3\4 no zip")}, None, "zip"),
        (
            {"dockerfile": script("sleep 30")},
            lambda settings: replace(settings, deadline_seconds=1),
            "deadline",
        ),
        ({}, lambda settings: replace(settings, registry="127.0.0.1:9"), "127.0.0.1:9"),
    ],
    ids=["step", "base", "engine", "dockerfile", "context", "deadline", "push"],
)
def test_whatever_ends_a_build_its_log_ends_with_the_reason(
    api: APIClient,
    send: Send,
    deployment: BuildSettings,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    order: dict[str, Any],
    change: Change | None,
    reason: str,
) -> None:
    monkeypatch.setattr("builds.registry.push.RETRY_SECONDS", (0.1,))
    monkeypatch.setattr(
        "builds.retry_policy.TRY_FOR", timedelta()
    )  # the service's faults end it, too
    if change:
        settings.BUILDS = change(deployment)
    answer = send(**order)
    image = built(answer)
    text = body(api.get(f"/images/{image.pk}/logs", HTTP_ACCEPT="text/event-stream"))
    *_, last, done = events(text)
    log = json.loads(last["data"])["log"]
    assert log["log_type"] == "stderr"
    assert reason in log["log"]
    assert json.loads(done["data"]) == f"error: {log['log']}" == image.build.api_status
    assert text.endswith("\n\nDONE\n\n")


def test_every_reader_gets_all_of_a_log_and_its_end_however_many_and_however_late(
    api: APIClient, send: Send
) -> None:
    path = f"/images/{send(dockerfile=script('repeat 50 of them')).json()['image_id']}/logs"
    early = [api.get(path) for _ in range(3)]
    runner.run(Build.objects.get().pk)
    late = [api.get(path, HTTP_ACCEPT="text/event-stream") for _ in range(3)]
    told = [body(answer) for answer in (*early, *late)]
    assert len(logs_of(told[0])) > 50
    assert told == [told[0]] * 6
    assert told[0].endswith("\n\nDONE\n\n")


def test_waiting_streams_the_log_in_the_answer(send: Send) -> None:
    answer = send(wait="true", dockerfile=script("echo hello"))
    assert answer.status_code == 202
    assert answer.headers["Content-Type"] == "text/event-stream"
    runner.run(Build.objects.get().pk)
    text = body(answer)
    assert "hello" in logs_of(text)
    assert json.loads(events(text)[-1]["data"]) == "built and pushed"
    assert text.endswith("\n\nDONE\n\n")


def test_indentation_broken_characters_and_a_line_of_a_megabyte_come_through(
    api: APIClient, send: Send
) -> None:
    steps = ["echo     four spaces", "raw caf\\xe9 \\xff\\n", "long 250000 long"]
    image = built(send(dockerfile=script(*steps)))
    lines = body(api.get(f"/images/{image.pk}/logs")).splitlines()
    assert "    four spaces" in lines
    assert "caf\ufffd \ufffd" in lines
    pieces = [line.removesuffix("…") for line in lines if line.startswith("long")]
    assert "".join(pieces) == "long" * 250_000
    assert image.build.api_status == "built and pushed"
