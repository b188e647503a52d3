"""What the queue starts. Each unpacks ids and makes one call, and is safe to run twice."""

from typing import Any
from uuid import UUID

import dramatiq

from builds import reaper, runner
from builds.broker import QUEUE, broker


@dramatiq.actor(broker=broker, queue_name=QUEUE)
def build_image(*, build_id: str, **_unknown: Any) -> None:
    runner.run(UUID(build_id))


@dramatiq.actor(broker=broker, queue_name=QUEUE, priority=10)
def remove_image(*, image_id: str, **_unknown: Any) -> None:
    reaper.purge(image_id=UUID(image_id))


def send_builds(build_ids: list[UUID]) -> None:
    """Puts each into the queue. Twice does no harm: the second delivery finds it taken."""
    for build_id in build_ids:
        build_image.send(build_id=str(build_id))
