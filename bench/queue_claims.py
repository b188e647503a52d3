"""`python -m bench.queue_claims`: the time that a claim of a build takes, without builds.

Uses DATABASE_URL if it is PostgreSQL, else SQLite in SLIPWAY_DATA_DIR. A claim is what a worker
does for each build: it finds the owner whose turn it is and takes the owner's next build.
"""

import os
import sys
import time
from collections.abc import Iterator
from json import dumps
from statistics import median, quantiles
from typing import Any
from uuid import UUID, uuid4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from builds.models import Build, QueueOwner  # noqa: E402
from builds.queue.status import QueueView  # noqa: E402
from builds.worker import ThisWorker  # noqa: E402

LONG = 20_000
CLAIMS = 300
VIEWS = 8
AN_HOUR = 66_000
"""Builds an hour: Railway's published peak."""
SECONDS = 20.0
RUNNING = 600
"""Builds that run at once at that rate, if a build takes half a minute."""
SHAPES = {"one owner": 1, "200 owners": 200, "20,000 owners": LONG}


def fill(owners: int, builds: int) -> None:
    ids = [UUID(int=number + 1) for number in range(owners)]
    for first in range(0, builds, 2_000):
        Build.objects.bulk_create(
            Build(
                image_id=uuid4(),
                owner_id=ids[number % owners],
                label=f"owner-{number % owners}/app:{number}",
                number=1,
                dockerfile="FROM scratch",
                context_sha256="0" * 64,
                context_bytes=1,
            )
            for number in range(first, min(first + 2_000, builds))
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def claim(worker: ThisWorker) -> tuple[Build, float]:
    began = time.perf_counter()
    while (build_id := worker.next()) is not None:
        with worker.claim(build_id) as build:
            if build is not None:
                return build, 1000 * (time.perf_counter() - began)
    raise RuntimeError("nothing could be claimed")


def settle(build: Build) -> None:
    Build.objects.filter(pk=build.pk).update(status="succeeded", ended_at=timezone.now())


def told(name: str, values: list[float], unit: str = "ms") -> Iterator[dict[str, Any]]:
    yield {"name": f"{name}_p50", "value": median(values), "unit": unit}
    yield {"name": f"{name}_p99", "value": quantiles(values, n=100)[98], "unit": unit}


def claims(worker: ThisWorker) -> Iterator[dict[str, Any]]:
    """With a long queue of few and of many owners, some of whom have reached their limit."""
    for name, owners in SHAPES.items():
        fill(owners, LONG)
        if owners > 1:  # as many owners at their limit as the slots allow
            QueueOwner.objects.filter(pk__in=[UUID(int=n + 1) for n in range(50)]).update(
                most_running=0
            )
        times, processor = [], 0.0
        for _ in range(CLAIMS):
            began = time.process_time()
            build, took = claim(worker)
            processor += time.process_time() - began
            times.append(took)
            settle(build)
        yield from told(f"{name}.claim", times)
        yield {"name": f"{name}.claim_cpu", "value": 1000 * processor / CLAIMS, "unit": "ms"}
        began = time.process_time()
        for _ in range(VIEWS):
            QueueView.now()
        look = 1000 * (time.process_time() - began) / VIEWS
        yield {"name": f"{name}.view_cpu", "value": look, "unit": "ms"}
        Build.objects.all().delete()
        QueueOwner.objects.all().delete()


def fleet(worker: ThisWorker) -> Iterator[dict[str, Any]]:
    """Builds are sent, claimed and ended at the rate of the peak, with RUNNING at once."""
    owners = 1_000
    fill(owners, 2_000)
    running = [claim(worker)[0] for _ in range(RUNNING)]
    times, late = [], 0.0
    count = int(AN_HOUR / 3_600 * SECONDS)
    began = time.perf_counter()
    for number in range(count):
        due = began + number * 3_600 / AN_HOUR
        late = max(late, time.perf_counter() - due)
        time.sleep(max(0.0, due - time.perf_counter()))
        settle(running.pop(0))
        build, took = claim(worker)
        times.append(took)
        running.append(build)
        Build(
            image_id=uuid4(),
            owner_id=UUID(int=number % owners + 1),
            label="owner/app:1",
            number=1,
            dockerfile="FROM scratch",
            context_sha256="0" * 64,
            context_bytes=1,
        ).save(force_insert=True)
    yield from told("fleet.claim", times)
    yield {"name": "fleet.latest", "value": late, "unit": "s"}
    pace = count / (time.perf_counter() - began) * 3_600
    yield {"name": "fleet.builds", "value": pace, "unit": "builds an hour"}


def main() -> None:
    call_command("migrate", verbosity=0)
    worker = ThisWorker()
    worker.sign_on()
    for part in (claims, fleet):
        for row in part(worker):
            print(dumps(row), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
