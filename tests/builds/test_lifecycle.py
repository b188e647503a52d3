"""What is asked of builds reaches the queue when it can be found there, and only then."""

from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import transaction

from builds import actors, reaper
from builds.broker import broker
from builds.lifecycle import request_again, request_cancel, request_removal
from builds.models import Build
from tests.conftest import Order

SEND_BUILDS, SEND_REMOVAL = actors.send_builds, actors.remove_image.send
pytestmark = pytest.mark.django_db(transaction=True)


def test_a_build_is_sent_only_when_others_can_see_it(order: Order, sent: list[Any]) -> None:
    with transaction.atomic():
        build = order("echo hello")
        assert sent == []
    assert sent == [build.pk]


def test_what_is_rolled_back_is_never_sent(order: Order, sent: list[Any]) -> None:
    with transaction.atomic():
        order("echo hello")
        transaction.set_rollback(True)
    assert not Build.objects.exists()
    assert sent == []


def test_what_the_queue_cannot_be_told_is_done_all_the_same(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("planted")

    monkeypatch.setattr(actors, "send_builds", SEND_BUILDS)
    monkeypatch.setattr(actors.remove_image, "send", SEND_REMOVAL)
    monkeypatch.setattr(broker, "enqueue", away)
    build = order("echo hello")
    assert default_storage.exists(build.context_key)
    assert list(reaper.forgotten()) == [build.pk]
    assert request_cancel(build)
    again = request_again(build.image_id)
    assert list(reaper.forgotten()) == [again.pk]
    request_removal(build.image_id)
    assert not Build.objects.filter(discarded_at=None).exists()
