"""Dramatiq actors. Each is safe to run twice."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import dramatiq
from django.db import close_old_connections

from builds import reaper, runner
from builds.broker import QUEUE, broker


@dramatiq.actor(broker=broker, queue_name=QUEUE)
def build_image(**_unknown: Any) -> None:
    """Run waiting builds until none is left. The database decides the order."""
    while runner.run_next():
        close_old_connections()


@dramatiq.actor(broker=broker, queue_name=QUEUE, priority=10)
def remove_image(*, image_id: str, **_unknown: Any) -> None:
    """Remove the data of a deleted image's builds."""
    reaper.purge(image_id=UUID(image_id))


def send_builds(build_ids: Collection[UUID]) -> None:
    """Send one wake-up message per build. Extra messages are harmless; missing ones only delay a
    build."""
    for _ in build_ids:
        build_image.send()
