"""`manage.py backup > FILE`: writes a backup of this instance."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from builds.process import ProcessError
from maintenance.backup import write_backup


class Command(BaseCommand):
    help = (
        "Writes database, files, started registry and keys to standard output, while Slipway runs. "
        "Whoever reads it can sign in as anybody."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--without-files", action="store_true", help="database and keys alone")

    def handle(self, *args: Any, **options: Any) -> None:
        if sys.stdout.isatty():
            raise CommandError("name a file: manage.py backup > slipway.tar")
        try:
            manifest = write_backup(sys.stdout.buffer, with_files=not options["without_files"])
            sys.stdout.buffer.flush()
        except (OSError, ProcessError) as problem:
            raise CommandError(f"the backup is not whole: {problem}") from problem
        size = sum(each.bytes for each in manifest.members.values())
        self.stderr.write(f"{len(manifest.members)} files, {size} bytes")
