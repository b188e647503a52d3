"""`manage.py registry_certificate`: prints the certificate for registries that check our tokens."""

from typing import Any

from django.core.management.base import BaseCommand

from builds.conf import build_settings
from builds.registry import make_signer


class Command(BaseCommand):
    help = "Prints the certificate that checks Slipway's tokens, and nothing else."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(make_signer(build_settings()).certificate, ending="")
