"""Waiting for an image's status to change, without a thread that waits too."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from api.later import LaterResponse
from builds.logs.pubsub import ring
from builds.logs.reader_threads import in_reader
from builds.models import Build
from images.models import Image
from tests.conftest import script, stand
from tests.images.conftest import Send, built

pytestmark = pytest.mark.django_db(transaction=True)
REF = "/images/my-app:1.0"


async def answered(response: Any, change: Callable[[], object]) -> Any:
    """What a waiting request is answered once something has changed."""
    assert isinstance(response, LaterResponse)
    making = asyncio.create_task(response.made())
    await asyncio.sleep(0)
    await in_reader(change)
    ring(await in_reader(lambda: Build.objects.get().image_id))
    async with asyncio.timeout(20):
        return await making


async def test_an_image_is_told_when_its_status_changes(api: APIClient, send: Send) -> None:
    await in_reader(send)
    response = await in_reader(api.get, REF, {"wait": "60"})
    found = await answered(response, lambda: stand(Build.objects.all(), "building"))
    assert found.status_code == 200
    assert json.loads(found.content)["status"] == "building"
    assert found["Content-Type"] == "application/json"
    assert int(found["Content-Length"]) == len(found.content)


@pytest.mark.parametrize(
    ("change", "status", "detail"),
    [
        (ApiKey.objects.revoke, 401, "Invalid token or user not found"),
        (lambda: User.objects.update(is_active=False), 401, "Invalid token or user not found"),
        (
            lambda: Image.objects.all().delete(),
            404,
            "Image not found, or does not belong to you",
        ),
    ],
    ids=["revoked key", "inactive user", "deleted image"],
)
async def test_whoever_may_not_look_any_more_is_refused(
    api: APIClient, send: Send, change: Callable[[], object], status: int, detail: str
) -> None:
    await in_reader(send)
    response = await in_reader(api.get, REF, {"wait": "60"})

    def both() -> None:
        change()
        stand(Build.objects.all(), "failed")

    found = await answered(response, both)
    assert (found.status_code, json.loads(found.content)["detail"]) == (status, detail)


async def test_the_answer_comes_at_the_end_of_the_time_too(api: APIClient, send: Send) -> None:
    await in_reader(send)
    response = await in_reader(api.get, REF, {"wait": "1"})
    assert isinstance(response, LaterResponse)
    found = await response.made()
    assert json.loads(found.content)["status"] == "pending build"


def test_of_a_build_that_has_ended_the_answer_comes_at_once(api: APIClient, send: Send) -> None:
    built(send(dockerfile=script("exit 1")))
    told = api.get(REF, {"wait": "60"})
    assert told.json() == api.get(REF).json()


@pytest.mark.parametrize("wait", ["61", "-1", "x", ""])
def test_a_time_that_is_too_long_or_none_is_refused(api: APIClient, send: Send, wait: str) -> None:
    send()
    answer = api.get(REF, {"wait": wait})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "wait"])


def test_nobody_waits_for_anothers_private_image(
    strangers_api: APIClient, send: Send, owner: User
) -> None:
    send()
    path = f"/images/{owner.username}/my-app:1.0"
    assert strangers_api.get(path, {"wait": "60"}).status_code == 404
    assert APIClient().get(path, {"wait": "60"}).status_code == 401
