"""The queue: in this process without Redis, in Redis with it.

A message wakes a worker. Only the message of a removal names its image.
"""

from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Callbacks, Middleware

from builds.conf import build_settings

QUEUE = "builds"
MIDDLEWARE: Sequence[Middleware] = (Callbacks(),)
"""No time limit and no retries: deadlines are the runner's, and a lost message is found again by
the housekeeping, which the database tells what is queued."""


def make_broker() -> dramatiq.Broker:
    """A new broker of the kind that the settings name."""
    url = build_settings().redis_url
    if url:
        return RedisBroker(url=url, middleware=list(MIDDLEWARE))  # type: ignore[no-untyped-call]
    return StubBroker(middleware=list(MIDDLEWARE))


broker = make_broker()
dramatiq.set_broker(broker)
