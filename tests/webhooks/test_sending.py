"""Deliveries: signed, tried again for a day, each by one process, none held up by another."""

import hashlib
import hmac
import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from tests.webhooks.conftest import Receiver
from webhooks import sending
from webhooks.events import note_test
from webhooks.models import DELAYS, Delivery, Webhook
from webhooks.posting import SendFailed
from webhooks.sending import Sender, claim, deliver, drop_old

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_delivery_is_signed_over_body_and_time(hook: Webhook, receiver: Receiver) -> None:
    delivery = note_test(hook)
    deliver(delivery)
    [(_, headers, body)] = receiver.came
    assert (headers["Slipway-Event"], headers["Slipway-Delivery"]) == ("test", str(delivery.pk))
    parts = dict(each.split("=") for each in headers["Slipway-Signature"].split(","))
    assert abs(time.time() - int(parts["t"])) < 60
    expected = hmac.new(hook.secret.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256)
    assert parts["v1"] == expected.hexdigest()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.status_code, delivery.due_at) == ("delivered", 204, None)


def test_a_failed_delivery_is_tried_later_and_later(hook: Webhook, receiver: Receiver) -> None:
    receiver.status = 500
    delivery = note_test(hook)
    waits = []
    for attempt in range(len(DELAYS) + 2):
        deliver(delivery)
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempts) == ("waiting", attempt + 1)
        assert (delivery.status_code, delivery.error) == (500, "answered 500")
        assert delivery.due_at is not None
        assert delivery.tried_at is not None
        waits.append(round((delivery.due_at - delivery.tried_at).total_seconds(), -1))
    assert waits == [*DELAYS, DELAYS[-1], DELAYS[-1]]


def test_after_a_day_nothing_more_is_tried(hook: Webhook, receiver: Receiver) -> None:
    receiver.status = 500
    delivery = note_test(hook)
    Delivery.objects.update(created_at=timezone.now() - timedelta(hours=24))
    delivery.refresh_from_db()
    deliver(delivery)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.due_at) == ("failed", None)


@pytest.mark.parametrize("off", ["webhook", "user"])
def test_nothing_is_sent_where_webhook_or_user_is_off(
    hook: Webhook, receiver: Receiver, off: str
) -> None:
    note_test(hook)
    if off == "webhook":
        Webhook.objects.update(active=False)
    else:
        User.objects.update(is_active=False)
    delivery = claim()
    assert delivery is not None
    deliver(delivery)
    assert receiver.came == []
    assert Delivery.objects.get().state == "failed"


def test_a_webhook_is_held_by_one_process(hook: Webhook) -> None:
    note_test(hook)
    note_test(hook)
    assert claim() is not None
    assert claim() is None
    Webhook.objects.update(held_until=timezone.now())  # whoever held it died
    assert claim() is not None


def test_the_webhook_that_waits_longest_is_next(owner: User, hook: Webhook) -> None:
    """One with much to send does not keep the others waiting."""
    other = Webhook.objects.create(owner=owner, url=hook.url)
    for _ in range(3):
        note_test(hook)
    note_test(other)
    order = []
    while (delivery := claim()) is not None:
        order.append(delivery.webhook)
        Delivery.objects.filter(pk=delivery.pk).update(due_at=None)
        sending.release(delivery.webhook)
    assert order == [hook, other, hook, hook]


def test_all_that_is_due_is_sent(hook: Webhook, receiver: Receiver) -> None:
    Delivery.objects.bulk_create(Delivery(webhook=hook, event="test", body="{}") for _ in range(3))
    sender = Sender()
    until = time.monotonic() + 30
    while Delivery.objects.filter(due_at__isnull=False).exists() and time.monotonic() < until:
        sender.send_due()
        time.sleep(0.01)
    sender._pool.shutdown()
    assert len(receiver.came) == 3


def test_what_is_not_due_waits(hook: Webhook) -> None:
    note_test(hook)
    Delivery.objects.update(due_at=timezone.now() + timedelta(seconds=9))
    assert claim() is None


def test_deliveries_that_ended_long_ago_are_dropped(hook: Webhook) -> None:
    old, recent, waiting = (note_test(hook) for _ in range(3))
    long_ago = timezone.now() - timedelta(days=15)
    Delivery.objects.filter(pk=old.pk).update(due_at=None, tried_at=long_ago)
    Delivery.objects.filter(pk=recent.pk).update(due_at=None, tried_at=timezone.now())
    drop_old()
    assert set(Delivery.objects.all()) == {recent, waiting}


def test_an_error_is_told_in_bounded_words(hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> int:
        raise SendFailed("x" * 1_000)

    monkeypatch.setattr(sending, "post", fail)
    deliver(note_test(hook))
    assert len(Delivery.objects.get().error) == 300
