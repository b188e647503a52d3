"""`manage.py worker`: runs builds. `manage.py web` serves HTTP in a separate process."""

import sys
from argparse import REMAINDER, ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from dramatiq import cli

from config.env import environment
from startup import data_directory

LOCK_SECONDS = 15.0
"""How long the previous worker may take to end."""


class Command(BaseCommand):
    help = "Runs builds: the command line of dramatiq, with one process unless told otherwise."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("options", nargs=REMAINDER, help="after `--`: options for dramatiq")

    def handle(self, *args: Any, **options: Any) -> None:
        if not environment().redis_url:
            raise CommandError("REDIS_URL is not set: without it no worker hears of a build")
        try:
            # Forked processes hold the lock too, so a killed worker's children end before the next
            # worker starts.
            held = data_directory.lock(settings.DATA_DIR, patience=LOCK_SECONDS)
        except data_directory.InUse as problem:
            raise CommandError(str(problem)) from problem
        data_directory.retire_workers()
        given = [each for each in options["options"] if each != "--"]
        # Run dramatiq in this process, because the helper ends with it.
        parser = cli.make_argument_parser()  # type: ignore[no-untyped-call]
        parsed = parser.parse_args(["config.worker", "--processes", "1", *given])
        with held:
            sys.exit(cli.main(parsed))  # type: ignore[no-untyped-call]
