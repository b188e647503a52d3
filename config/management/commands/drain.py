"""`manage.py drain`: workers take no more builds. `--wait` waits until none of theirs runs."""

from argparse import ArgumentParser
from socket import gethostname
from time import monotonic, sleep
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from builds.lifecycle import request_drain, request_undrain
from builds.models import Build, Worker

LOOK_SECONDS = 0.5


class Command(BaseCommand):
    help = "Lets workers take no more builds. Builds that run go on."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "workers", nargs="*", help="names or hosts of workers; without any those of this host"
        )
        parser.add_argument("--all", action="store_true", help="every worker")
        parser.add_argument("--undo", action="store_true", help="let them take builds again")
        parser.add_argument("--wait", action="store_true", help="until they run no build any more")
        parser.add_argument(
            "--timeout", type=float, default=None, help="seconds to wait at most; then it fails"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = self._names(options["workers"], every=options["all"])
        change = request_undrain if options["undo"] else request_drain
        for name in names:
            change(name)
            self.stdout.write(f"{name} {'takes builds again' if options['undo'] else 'drains'}")
        if options["wait"] and not options["undo"]:
            self._wait(names, options["timeout"])

    def _names(self, given: list[str], *, every: bool) -> list[str]:
        wanted = set(given) or {gethostname()}
        found = Worker.objects.alive()
        if not every:
            found = found.filter(Q(name__in=wanted) | Q(host__in=wanted))
        workers = list(found.order_by("name"))
        missing = set(given) - {each.name for each in workers} - {each.host for each in workers}
        if missing or not workers:
            raise CommandError(f"no worker is alive at {', '.join(sorted(missing or wanted))}")
        return [worker.name for worker in workers]

    def _wait(self, names: list[str], timeout: float | None) -> None:
        until = None if timeout is None else monotonic() + timeout
        held = Build.objects.running().filter(worker__in=names)
        while left := held.count():
            if until is not None and monotonic() > until:
                raise CommandError(f"builds still run: {left}")
            sleep(LOOK_SECONDS)
        self.stdout.write("No build runs on them.")
