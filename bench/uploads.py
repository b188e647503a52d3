"""The time until a POST is answered, and the memory that it takes."""

import io
import os
import statistics
import time
from collections.abc import Iterator
from zipfile import ZIP_STORED, ZipFile

from bench.figures import Figure
from bench.processes import forget_peak, memory_mb
from tests.instance import Instance, send

RUNS = 5
FAILS_FAST = "FROM scratch\nRUN\n"
"""Refused by the checks, so that no build runs during the next upload."""


def context(mib: int) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_STORED) as archive:
        archive.writestr("blob", os.urandom(mib * 1024 * 1024))
    return file.getvalue()


def run(instance: Instance) -> Iterator[Figure]:
    client = instance.client()
    send(client, FAILS_FAST, context(1), name="bench-upload", tag="warm")
    for mib in (1, 100):
        body = context(mib)
        times = []
        before = memory_mb(instance.pid)
        forget_peak(instance.pid)
        for n in range(RUNS):
            began = time.monotonic()
            send(client, FAILS_FAST, body, name="bench-upload", tag=f"{mib}.{n}")
            times.append(time.monotonic() - began)
            time.sleep(0.5)
        growth = memory_mb(instance.pid, peak=True) - before
        median = statistics.median(times)
        yield Figure(name=f"post.{mib}mib.answer", value=1000 * median, unit="ms")
        yield Figure(name=f"post.{mib}mib.memory_growth", value=growth, unit="MiB")
