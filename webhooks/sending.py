"""Sends due deliveries. Any number of processes may do so: each webhook is held by one of them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from logging import getLogger
from time import monotonic

from django.db import close_old_connections, connections
from django.utils import timezone

from webhooks.addresses import BadUrl, parse_url
from webhooks.models import DELAYS, HELD, KEPT, TRY_FOR, Delivery, Webhook
from webhooks.posting import SendFailed, post
from webhooks.signing import SIGNATURE, signature

AT_ONCE = 8
ERROR_CHARACTERS = 300
DROPPED_AT_ONCE = 1_000
INACTIVE = "the webhook is not active"
logger = getLogger(__name__)


def claim() -> Delivery | None:
    """The next delivery, whose webhook this process now holds; None if none is due."""
    for hook in Webhook.objects.due()[:AT_ONCE]:
        now = timezone.now()
        mine = Webhook.objects.filter(pk=hook.pk, held_until=hook.held_until)
        if not mine.update(held_until=now + HELD, tried_at=now):
            continue
        due = Delivery.objects.filter(webhook=hook, due_at__lte=now)
        found = due.select_related("webhook__owner").order_by("due_at", "id").first()
        if found is not None:
            return found
        release(hook)
    return None


def release(hook: Webhook) -> None:
    Webhook.objects.filter(pk=hook.pk).update(held_until=timezone.now())


def deliver(delivery: Delivery) -> None:
    """Makes one attempt and stores the result."""
    hook, began = delivery.webhook, monotonic()
    status: int | None = None
    error = ""
    if not hook.active or (hook.owner is not None and not hook.owner.is_active):
        ended = {"state": Delivery.FAILED, "due_at": None, "tried_at": timezone.now()}
        _note(delivery, error=INACTIVE, **ended)
        return
    body, at = delivery.body.encode(), timezone.now()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Slipway-Webhook",
        "Slipway-Event": delivery.event,
        "Slipway-Delivery": str(delivery.pk),
        SIGNATURE: signature(hook.secret, body, int(at.timestamp())),
    }
    try:
        status = post(parse_url(hook.url), body, headers)
    except SendFailed as problem:
        status, error = problem.status, str(problem)
    except BadUrl as problem:
        error = f"the URL {problem}"
    took = {"tried_at": at, "duration_ms": round((monotonic() - began) * 1000)}
    told = {**took, "status_code": status, "error": error[:ERROR_CHARACTERS]}
    if not error:
        _note(delivery, state=Delivery.DELIVERED, due_at=None, **told)
    elif at - delivery.created_at >= TRY_FOR:
        _note(delivery, state=Delivery.FAILED, due_at=None, **told)
    else:
        delay = timedelta(seconds=DELAYS[min(delivery.attempts, len(DELAYS) - 1)])
        _note(delivery, due_at=timezone.now() + delay, **told)


def _note(delivery: Delivery, **values: object) -> None:
    attempts = delivery.attempts + 1
    Delivery.objects.filter(pk=delivery.pk).update(attempts=attempts, **values)


class Sender:
    """A few threads that send, so that a slow receiver does not delay the others."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook")
        self._free = threading.Semaphore(AT_ONCE)

    def send_due(self) -> None:
        """Starts to send all due deliveries; returns when each has a thread."""
        while self._free.acquire():
            delivery = None
            try:
                delivery = claim()
                if delivery is None:
                    return
                self._pool.submit(self._in_thread, delivery)
            finally:
                if delivery is None:
                    self._free.release()

    def _in_thread(self, delivery: Delivery) -> None:
        close_old_connections()
        try:
            deliver(delivery)
            release(delivery.webhook)
        except Exception:
            logger.exception("webhook %s: delivery %s broke", delivery.webhook_id, delivery.pk)
        finally:
            connections.close_all()
            self._free.release()


def drop_old() -> None:
    """Deletes deliveries that ended more than KEPT ago."""
    ended = Delivery.objects.filter(due_at=None, tried_at__lt=timezone.now() - KEPT)
    keys = list(ended.values_list("pk", flat=True)[:DROPPED_AT_ONCE])
    if keys:
        Delivery.objects.filter(pk__in=keys).delete()
