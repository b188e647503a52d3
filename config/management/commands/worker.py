"""`manage.py worker`: runs builds, beside web processes elsewhere."""

import sys
from argparse import REMAINDER, ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from dramatiq import cli

from config.env import environment
from startup import data_directory

LOCK_SECONDS = 15.0
"""For which the one before may take to end."""


class Command(BaseCommand):
    help = "Runs builds: the command line of dramatiq, with one process unless told otherwise."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("options", nargs=REMAINDER, help="after `--`: options for dramatiq")

    def handle(self, *args: Any, **options: Any) -> None:
        if not environment().redis_url:
            raise CommandError("REDIS_URL is not set: without it no worker hears of a build")
        try:
            # Forked processes hold it too: what a killed one leaves ends before another begins.
            held = data_directory.lock(settings.DATA_DIR, patience=LOCK_SECONDS)
        except data_directory.InUse as problem:
            raise CommandError(str(problem)) from problem
        data_directory.retire_workers()
        given = [each for each in options["options"] if each != "--"]
        # In this process: it keeps the helper alive.
        parser = cli.make_argument_parser()  # type: ignore[no-untyped-call]
        parsed = parser.parse_args(["config.worker", "--processes", "1", *given])
        with held:
            sys.exit(cli.main(parsed))  # type: ignore[no-untyped-call]
