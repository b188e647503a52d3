"""The Dramatiq broker: in memory of this process, or Redis if it is configured.

Messages only wake workers. The one exception is the removal of an image, which carries its id.
"""

from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Callbacks, Middleware

from builds.conf import build_settings

QUEUE = "builds"
MIDDLEWARE: Sequence[Middleware] = (Callbacks(),)
"""No time limit and no retries: the runner enforces deadlines, and the housekeeping sends lost
messages again, since the database knows what is queued."""


def make_broker() -> dramatiq.Broker:
    """Create a broker of the configured kind."""
    url = build_settings().redis_url
    if url:
        return RedisBroker(url=url, middleware=list(MIDDLEWARE))  # type: ignore[no-untyped-call]
    return StubBroker(middleware=list(MIDDLEWARE))


broker = make_broker()
dramatiq.set_broker(broker)
