"""`manage.py reconcile`: compares database, storage and registry. `--fix` repairs differences."""

from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from builds.registry import RegistryError
from images.models import Image
from maintenance.reconcile import Difference, differences

FEW = 10
"""Up to this number, images without a manifest are always marked as gone without `--force`."""


class Command(BaseCommand):
    help = (
        "Says what database, storage and registry do not agree on. Exit code 1 where something is "
        "left that could be mended."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--fix", action="store_true", help="let the database say what is gone; move tags back"
        )
        parser.add_argument(
            "--force", action="store_true", help="also where most images are gone from the registry"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = list(differences())
        except (RegistryError, OSError) as problem:
            raise CommandError(f"cannot compare: {problem}") from problem
        for each in found:
            self.stdout.write(f"{each.kind}\t{each.subject}\t{each.text}")
        mendable = [each for each in found if each.mend is not None]
        if options["fix"]:
            self._check(mendable, force=options["force"])
            for each in mendable:
                assert each.mend is not None  # noqa: S101
                each.mend()
        counts = Counter(each.kind for each in found)
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        self.stdout.write(told or "Database, storage and registry agree.")
        if options["fix"]:
            self.stdout.write(f"Mended: {len(mendable)}.")
        elif mendable:
            self.stdout.write("`manage.py reconcile --fix` mends what can be mended.")
            raise SystemExit(1)

    def _check(self, mendable: list[Difference], *, force: bool) -> None:
        gone = sum(each.kind == "manifest" for each in mendable)
        if not force and gone > FEW and gone > Image.objects.exclude(good=None).count() / 2:
            raise CommandError(
                f"{gone} images are not in the registry, which is most of them: is "
                "SLIPWAY_REGISTRY the right one? --force marks them as gone"
            )
