"""The build workers: threads that take builds from the queue, and one that keeps house.

Embedded, `start` runs them beside daphne. On other machines `dramatiq config.worker` does.
"""

import os
import threading
from collections.abc import Callable
from functools import partial
from logging import getLogger

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")  # noqa: TID251

import django
from django.apps import apps

if not apps.ready:
    django.setup()

import dramatiq
from django.db import close_old_connections, connections
from dramatiq.middleware import Middleware

from builds import actors, lifecycle, reaper, runner
from builds.broker import broker
from builds.conf import build_settings
from builds.logs import archive
from builds.machine import keep_measuring
from builds.models import Build
from builds.worker import WORKER
from config import metrics
from config.logs import keep_errors
from images import logos

JOIN_SECONDS = 8.0
logger = getLogger(__name__)


class Housekeeping(Middleware):
    """One thread per worker process, ticking until it stops; no connection outlives a turn."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        # What a busy process fetches ahead, an idle one never hears of.
        worker.queue_prefetch = worker.worker_threads
        _try(partial(WORKER.sign_on, worker.worker_threads))
        _try(metrics.serve_worker)
        keep_errors()
        alive = Build.objects.running().values_list("pk", flat=True)
        runner.engine().sweep(frozenset(alive))
        _try(reaper.drop_strays)
        _try(logos.drop_unused)
        connections.close_all()
        self._thread = threading.Thread(
            target=self._run, args=[worker], name="housekeeping", daemon=True
        )
        self._thread.start()
        threading.Thread(target=keep_measuring, name="measuring", daemon=True).start()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        WORKER.stopping.set()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        _try(WORKER.sign_off)
        connections.close_all()

    def before_process_message(self, broker: dramatiq.Broker, message: object) -> None:
        close_old_connections()

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: object,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        connections.close_all()

    def _run(self, worker: dramatiq.Worker) -> None:
        while not WORKER.stopping.wait(build_settings().tick_seconds):
            _try(partial(obey, worker))
            tick()


def obey(worker: dramatiq.Worker) -> None:
    """A worker that drains leaves messages to the others."""
    draining = WORKER.draining()
    for consumer in worker.consumers.values():
        if consumer.paused is not draining:
            (consumer.pause if draining else consumer.resume)()


def tick() -> None:
    """One turn of the housekeeping. What fails is tried again at the next."""
    for duty in (
        WORKER.renew,
        WORKER.sign_on,
        settle,
        resend,
        partial(archive.archive_ended, worker=WORKER.name),
        archive.drop_due_chunks,
        reaper.purge,
        reaper.drop_superseded_contexts,
        make_room,
    ):
        _try(duty)
    connections.close_all()


def settle() -> None:
    actors.send_builds(reaper.settle_expired())


def resend() -> None:
    actors.send_builds(reaper.forgotten())


def make_room() -> None:
    runner.engine().make_room(build_settings().free_disk_bytes)


def _try(duty: Callable[[], object]) -> None:
    try:
        duty()
    except Exception:
        logger.exception("housekeeping failed; the next turn tries again")


def start() -> Callable[[], None]:
    """Starts workers in this process; returns what stops them."""
    alone = not build_settings().redis_url
    if alone:
        # Nobody else works on this database, so whatever runs in it was interrupted.
        orphans = reaper.settle_orphans(Build.objects.running())
        if orphans:
            logger.info("%s interrupted builds start again", len(orphans))
    worker = dramatiq.Worker(broker, worker_threads=build_settings().workers)
    worker.start()
    if alone:
        lifecycle.resend_queued()

    def stop() -> None:
        WORKER.stopping.set()
        worker.stop(timeout=round(JOIN_SECONDS * 1000))

    return stop


broker.add_middleware(Housekeeping())
