"""The build workers: threads that take builds, and some that look after what was taken.

Embedded, `start` runs them beside daphne. On other machines `manage.py worker` does.
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
"""Of each turn, for what operators asked for and no page carries on."""
WEBHOOK_SECONDS = 1.0
"""Between two looks for what is to be posted."""
STRAYS_SECONDS = 3_600.0
"""Between two looks at all that is stored, which may take long."""
BOOT_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
HELPER_LOST = (
    "the helper that starts builders has ended, and only a new start of Slipway can start another: "
    "it ends now, and its builds start again with it"
)
logger = getLogger(__name__)


class Housekeeping(Middleware):
    """What a worker process does beside building, until it stops; no connection outlives a turn."""

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        _end_with_parent()
        alive = _alive()
        # One setting says how many, whoever starts the process; dramatiq would take eight.
        worker.worker_threads = WORKER.threads
        # What a busy process fetches ahead, an idle one never hears of.
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
        # What must be in time does not wait for what asks a registry or a storage.
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
            consumer.pause()  # messages are for others now
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
    """Ends where the database is away: what fails is tried again at the next turn."""
    for duty in duties:
        if not _try(duty):
            break


def _end_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is gone, however it ended."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:
        os._exit(1)


def take_over() -> None:
    """Settles at once what former workers of this data directory held: they are dead.

    The lock of the data directory says so. Without it their leases would have to run out first.
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
    """Says that this worker lives, whatever else takes long: its builds are taken from it else."""
    WORKER.renew()
    WORKER.sign_on()


def watch_helper(helper: Helper) -> None:
    """End this process when the helper ends: nobody else has the rights to start another."""
    try:
        helper.wait_until_gone()
    except HelperError as problem:
        logger.critical("%s", problem)
    if not WORKER.stopping.is_set():
        logger.critical(HELPER_LOST)
        WORKER.lose_helper()
        os.kill(os.getpid(), signal.SIGTERM)


def obey(worker: dramatiq.Worker) -> None:
    """A worker that drains or is in quarantine leaves messages to the others."""
    leaves = WORKER.leaving.is_set() or WORKER.quarantine.active or WORKER.draining()
    for consumer in worker.consumers.values():
        if consumer.paused is not leaves:
            (consumer.pause if leaves else consumer.resume)()


def rescue() -> None:
    """Ends what lost its worker, and wakes hands for what was forgotten."""
    actors.send_builds(reaper.settle_expired())
    actors.send_builds(reaper.forgotten())


def tick() -> None:
    """One turn of the housekeeping."""
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
    engine().make_room(build_settings().free_disk_bytes)


def _try(duty: Callable[[], object]) -> bool:
    """False where the database is away."""
    try:
        duty()
    except DATABASE_OUTAGES as problem:
        logger.warning("housekeeping waits for the database: %s", problem)
        return False
    except Exception:
        logger.exception("housekeeping failed; the next turn tries again")
    return True


def _alive() -> frozenset[UUID]:
    """The builds that are under way. Ends the process when the database does not come, or is not
    as this version needs it: whoever keeps this process running may start it again."""
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
    """Starts workers in this process; returns what stops them."""
    alone = not build_settings().redis_url
    if alone:
        # Nobody else works on this database, so whatever runs in it was interrupted.
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
