"""`manage.py prune`: lists data older than the retention settings. `--yes` removes it."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from maintenance.prune import KINDS, prune


class Command(BaseCommand):
    help = "Says what the settings SLIPWAY_KEEP_…_DAYS call old. Workers remove it every hour."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--yes", action="store_true", help="remove it now")

    def handle(self, *args: Any, **options: Any) -> None:
        for kind in KINDS:
            due = kind.due()
            if due is None:
                self.stdout.write(f"{kind.name}: kept for ever ({kind.text})")
            elif options["yes"]:
                self.stdout.write(f"{kind.name}: removed {prune(kind)} ({kind.text})")
            else:
                self.stdout.write(f"{kind.name}: {due.count()} would go ({kind.text})")
        if not options["yes"]:
            self.stdout.write("`manage.py prune --yes` removes them.")
