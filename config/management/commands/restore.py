"""`manage.py restore < FILE`: restores a backup into an empty instance."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from builds.process import ProcessError
from maintenance.archive import BadBackup
from maintenance.restore import NotEmpty, read_backup
from startup import data_directory


class Command(BaseCommand):
    help = "Restores a backup from standard input into an empty database, storage and directory."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--without-files", action="store_true", help="leave storage and registry as they are"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not sys.stdin.seekable():
            raise CommandError("name a file: manage.py restore < slipway.tar")
        try:
            with data_directory.lock(settings.DATA_DIR):
                manifest = read_backup(sys.stdin.buffer, with_files=not options["without_files"])
        except (BadBackup, NotEmpty, data_directory.InUse, OSError, ProcessError) as problem:
            raise CommandError(f"nothing more was restored: {problem}") from problem
        self.stdout.write(
            f"Restored {len(manifest.members)} files of {manifest.made_at}. "
            "`manage.py reconcile` compares them with the registry, which has to be running."
        )
