"""What the queue starts: each a few lines, and safe to run twice."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import dramatiq
from django.db import close_old_connections

from builds import reaper, runner
from builds.broker import QUEUE, broker


@dramatiq.actor(broker=broker, queue_name=QUEUE)
def build_image(**_unknown: Any) -> None:
    """Some build is waiting. Which comes first the database says, until none waits."""
    while runner.run_next():
        close_old_connections()


@dramatiq.actor(broker=broker, queue_name=QUEUE, priority=10)
def remove_image(*, image_id: str, **_unknown: Any) -> None:
    reaper.purge(image_id=UUID(image_id))


def send_builds(build_ids: Collection[UUID]) -> None:
    """Says once for each that a build is waiting. Too often does no harm, too seldom costs time."""
    for _ in build_ids:
        build_image.send()
