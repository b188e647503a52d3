"""What is written down for webhooks, and in which transaction."""

import json
from typing import Any

import pytest
from django.db import transaction
from rest_framework.test import APIClient

from accounts.models import User
from builds.completion import settle_failed
from builds.failures import CANCELLED, INTERRUPTED, Failure
from builds.models import Build
from builds.status import Status
from images import catalog
from images.models import Image
from tests.conftest import Order, script
from tests.images.conftest import Send, api, built, client_of, send  # noqa: F401
from webhooks.models import Delivery, Webhook

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def told(owner: User) -> Any:
    """The events that were written for a webhook of the owner's, oldest first."""
    hook = Webhook.objects.create(owner=owner, url="https://example.com/")
    return lambda: list(hook.deliveries.order_by("created_at").values_list("event", flat=True))


def test_the_life_of_an_image_is_told(send: Send, api: APIClient, told: Any) -> None:  # noqa: F811
    built(send(readme="x" * 1_000))
    api.patch("/images/my-app:1.0", {"public": True}, format="json")
    api.patch("/images/my-app:1.0", {"public": True}, format="json")  # nothing changes
    built(send(replace="true", readme=None, public=None, logo_id=None, dockerfile=script("exit 1")))
    api.post("/images/my-app:1.0/rebuild")
    api.post("/images/my-app:1.0/cancel")
    api.delete("/images/my-app:1.0")
    assert told() == [
        "image_created",
        "build_succeeded",
        "image_updated",
        "build_failed",
        "build_cancelled",
        "image_deleted",
    ]
    bodies = {each.event: json.loads(each.body) for each in Delivery.objects.all()}
    end = bodies["build_succeeded"]
    assert end["event"] == "build_succeeded"
    assert end["image"]["status"] == "built and pushed"
    assert end["image"]["reference_by_digest"].endswith(end["build"]["digest"])
    assert bodies["build_failed"]["build"]["exit_code"] == 1
    assert bodies["build_failed"]["image"]["good_build"]["number"] == 1
    assert not any("readme" in body["image"] for body in bodies.values())


def test_a_build_that_starts_again_has_not_ended(order: Order, told: Any) -> None:
    build = order("echo hello")
    Build.objects.filter(pk=build.pk).move(Status.BUILDING)
    settle_failed(build.pk, fence=None, to=Status.LOST, failure=INTERRUPTED)
    assert told() == []


def test_what_is_rolled_back_is_not_told(order: Order, told: Any) -> None:
    build = order("echo hello")
    failure = Failure(fault="user", code="step", text="no")
    with transaction.atomic():
        settle_failed(build.pk, fence=None, to=Status.FAILED, failure=failure)
        assert told() == ["build_failed"]
        transaction.set_rollback(True)
    assert told() == []


def test_only_who_may_know_is_told(order: Order, owner: User, stranger: User) -> None:
    build = order("echo hello")
    Image.objects.update(public=True)
    url = "https://example.com/"
    hooks = {
        "own": Webhook.objects.create(owner=owner, url=url),
        "chosen": Webhook.objects.create(owner=owner, url=url, events=["build_cancelled"]),
        "instance": Webhook.objects.create(owner=None, url=url),
        "other event": Webhook.objects.create(owner=owner, url=url, events=["image_created"]),
        "inactive": Webhook.objects.create(owner=owner, url=url, active=False),
        "stranger": Webhook.objects.create(owner=stranger, url=url),
    }
    settle_failed(build.pk, fence=None, to=Status.CANCELLED, failure=CANCELLED)
    heard = {name for name, hook in hooks.items() if hook.deliveries.exists()}
    assert heard == {"own", "chosen", "instance"}


def test_a_receiver_that_is_away_does_not_fill_the_database(
    order: Order, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.models.MOST_WAITING", 2)
    image = Image.objects.with_build().get(pk=order("echo hello").image_id)
    for readme in "abcd":
        image = catalog.change(image, by=image.owner, readme=readme)
    assert len(told()) == 2
