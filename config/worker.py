"""The worker process: threads that run builds, and threads for leases, recovery and housekeeping.

`manage.py up` starts them in its own process with `start`. Otherwise `manage.py worker` runs them.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from logging import getLogger
from time import monotonic, sleep
from uuid import UUID

from common.outages import DATABASE_OUTAGES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")  # noqa: TID251
import django
from django.apps import apps

if not apps.ready:
    django.setup()

import dramatiq
from django.db import close_old_connections, connections
from dramatiq.middleware import Middleware

from builds import actors, lifecycle, reaper
from builds.broker import broker
from builds.conf import build_settings
from builds.engine_factory import engine, own_helper
from builds.engines.sandbox.helper import Helper, HelperError
from builds.host_stats import keep_measuring
from builds.logs import archive
from builds.models import Build, Worker
from builds.unreferenced_files import OF_BUILDS, drop_unreferenced
from builds.worker import WORKER
from builds.worker_checks import WORKER_CHECKS
from images import logos, retention
from images.rest.idempotency import drop_old_answers
from maintenance.prune import prune_all
from observability import health, worker_probes
from observability.logs import keep_errors
from operators import bulk
from startup import bootstrap, data_directory
from webhooks.sending import Sender, drop_old

JOIN_SECONDS = 8.0
BULK_SECONDS = 2.0
"""Time per turn for bulk actions of operators whose progress page was closed."""
WEBHOOK_SECONDS = 1.0
"""Interval of sending due webhooks."""
STRAYS_SECONDS = 3_600.0
"""Interval of cleaning up stored data, which may take long."""
BOOT_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
HELPER_LOST = (
    "the helper that starts builders has ended, and only a new start of Slipway can start another: "
    "it ends now, and its builds start again with it"
)
logger = getLogger(__name__)


class Housekeeping(Middleware):
    """Background threads of a worker process, from its start until it stops.

    Database connections are closed after each turn.
    """

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        _end_with_parent()
        alive = _alive()
        # SLIPWAY_WORKERS sets the number, however the process is started. Dramatiq's default is 8.
        worker.worker_threads = WORKER.threads
        # A busy process must not prefetch messages that an idle one could take.
        worker.queue_prefetch = worker.worker_threads
        _try(WORKER.sign_on)
        _try(take_over)
        if multiprocessing.parent_process() is not None:
            health.PROCESS.parts = (*health.CHECKS, *health.OF_WORKERS)
        _try(worker_probes.serve)
        keep_errors()
        engine().sweep(alive)
        connections.close_all()
        turn = build_settings().tick_seconds
        # Separate threads, so that leases do not wait for a registry or a storage.
        threads: dict[str, Callable[[], object]] = {
            "leases": partial(_every, turn, beat),
            "rescue": partial(_every, turn, partial(obey, worker), rescue),
            "housekeeping": partial(_every, turn, tick),
            "webhooks": partial(_every, WEBHOOK_SECONDS, Sender().send_due, begin=True),
            "strays": partial(_every, STRAYS_SECONDS, drop_strays, begin=True),
            "checks": partial(_every, turn, WORKER_CHECKS.fit, begin=True),
            "measuring": partial(keep_measuring, helper := own_helper()),
        }
        if helper is not None:
            threads["helper"] = partial(watch_helper, helper)
        for name, target in threads.items():
            threading.Thread(target=target, name=name, daemon=True).start()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        for consumer in worker.consumers.values():
            consumer.pause()  # other workers take the messages now
        health.PROCESS.leaving.set()
        WORKER.leave(build_settings().grace_seconds)

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        _try(WORKER.sign_off)
        data_directory.forget(WORKER.name)
        connections.close_all()

        if WORKER.helper_lost:
            sys.exit(HELPER_LOST)

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


def _every(seconds: float, *duties: Callable[[], object], begin: bool = False) -> None:
    while begin or not WORKER.stopping.wait(seconds):
        begin = False
        _in_turn(*duties)
        connections.close_all()


def _in_turn(*duties: Callable[[], object]) -> None:
    """Run duties in order. Stop if the database is unreachable; the next turn tries again."""
    for duty in duties:
        if not _try(duty):
            break


def _end_with_parent() -> None:
    """Let the kernel kill this process when its parent dies."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:
        os._exit(1)


def take_over() -> None:
    """End the builds of dead worker processes of this data directory, and restart them.

    The lock of the data directory proves that they are dead, so there is no need to wait until
    their leases expire.
    """
    data_directory.register(WORKER.name)
    gone = data_directory.gone()
    if not gone:
        return
    orphans = Build.objects.running().filter(worker__in=gone)
    actors.send_builds(reaper.settle_orphans(orphans))
    Worker.objects.filter(name__in=gone).delete()
    for name in gone:
        data_directory.forget(name)


def beat() -> None:
    """Renew the leases of this worker's builds and its row. If it stops, it loses its builds."""
    WORKER.renew()
    WORKER.sign_on()


def watch_helper(helper: Helper) -> None:
    """Stop this process when the helper ends: only a new start of Slipway can start another."""
    try:
        helper.wait_until_gone()
    except HelperError as problem:
        logger.critical("%s", problem)
    if not WORKER.stopping.is_set():
        logger.critical(HELPER_LOST)
        WORKER.lose_helper()
        os.kill(os.getpid(), signal.SIGTERM)


def obey(worker: dramatiq.Worker) -> None:
    """Pause the queue's consumers while this worker drains, stops or is in quarantine."""
    leaves = WORKER.leaving.is_set() or WORKER.quarantine.active or WORKER.draining()
    for consumer in worker.consumers.values():
        if consumer.paused is not leaves:
            (consumer.pause if leaves else consumer.resume)()


def rescue() -> None:
    """End builds whose lease expired, and send lost messages of queued builds again."""
    actors.send_builds(reaper.settle_expired())
    actors.send_builds(reaper.forgotten())


def tick() -> None:
    """One turn of housekeeping: archive logs, remove old data, continue bulk actions, free disk."""
    _in_turn(
        partial(archive.archive_ended, worker=WORKER.name),
        archive.drop_due_chunks,
        reaper.purge,
        reaper.drop_superseded_contexts,
        reaper.drop_work_folders,
        partial(bulk.carry_on_all, seconds=BULK_SECONDS),
        make_room,
    )


def drop_strays() -> None:
    """Clean up stored data: due images, old records, unused logos, unreferenced files."""
    folders = {**OF_BUILDS, logos.FOLDER: logos.named}
    _in_turn(
        retention.delete_due,
        prune_all,
        drop_old,
        drop_old_answers,
        logos.drop_unused,
        partial(drop_unreferenced, folders),
    )


def make_room() -> None:
    """Let the engine drop caches if the disk has too little free space."""
    engine().make_room(build_settings().free_disk_bytes)


def _try(duty: Callable[[], object]) -> bool:
    """Run a duty and log its errors. Returns False only if the database is unreachable."""
    try:
        duty()
    except DATABASE_OUTAGES as problem:
        logger.warning("housekeeping waits for the database: %s", problem)
        return False
    except Exception:
        logger.exception("housekeeping failed; the next turn tries again")
    return True


def _alive() -> frozenset[UUID]:
    """Ids of the running builds. Exits the process if the database does not answer within
    BOOT_SECONDS or lacks migrations: the service manager may start it again."""
    until = monotonic() + BOOT_SECONDS
    while True:
        try:
            bootstrap.check_migrated()
            return frozenset(Build.objects.running().values_list("pk", flat=True))
        except DATABASE_OUTAGES as problem:
            connections.close_all()
            if monotonic() > until:
                sys.exit(f"the database did not answer for {BOOT_SECONDS:.0f} s: {problem}")
            logger.warning("the database is away; this worker waits: %s", problem)
            sleep(1)
        except bootstrap.Unmigrated as problem:
            sys.exit(str(problem))


def start() -> Callable[[], None]:
    """Start workers in this process. Returns a function that stops them."""
    alone = not build_settings().redis_url
    if alone:
        # No other process uses this database, so builds marked as running were interrupted.
        orphans = reaper.settle_orphans(Build.objects.running())
        if orphans:
            logger.info("%s interrupted builds start again", len(orphans))
    worker = dramatiq.Worker(broker)
    worker.start()
    if alone:
        lifecycle.resend_queued()

    def stop() -> None:
        worker.stop(timeout=round(JOIN_SECONDS * 1000))

    return stop


broker.add_middleware(Housekeeping())
