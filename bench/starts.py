"""The time of a start, and the cost of a server without requests."""

import time
from collections.abc import Iterator

from bench.figures import Figure
from bench.processes import memory_mb, processor_seconds
from tests.instance import Instance

REST_SECONDS = 10


def run(instance: Instance) -> Iterator[Figure]:
    """The instance still runs afterwards."""
    yield Figure(name="start.first", value=instance.start(), unit="s")
    instance.stop()
    yield Figure(name="start.second", value=instance.start(), unit="s")
    time.sleep(2)
    before = processor_seconds(instance.pid)
    time.sleep(REST_SECONDS)
    used = processor_seconds(instance.pid) - before
    yield Figure(name="rest.cpu", value=100 * used / REST_SECONDS, unit="% of a core")
    yield Figure(name="rest.memory", value=memory_mb(instance.pid), unit="MiB")
