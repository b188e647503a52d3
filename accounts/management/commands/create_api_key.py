"""`manage.py create_api_key NAME`: create a key for a user and print it, once."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts import scopes
from accounts.models import ApiKey, User


class Command(BaseCommand):
    help = "Makes an API key for a user and prints the key and nothing else."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="of the user")
        parser.add_argument("--label", default="", help="what the key is for")
        parser.add_argument(
            "--scope",
            action="append",
            metavar="S",
            help="images:read, images:write or images:delete, also bound to one image as in "
            "images:read:<id>; may be given more than once; without it the key may do everything",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["name"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['name']!r}.")
        granted = options["scope"] or [scopes.ALL]
        try:
            _, text = ApiKey.objects.issue(user, label=options["label"], scopes=granted)
        except ValidationError as problem:
            raise CommandError(" ".join(problem.messages)) from problem
        self.stdout.write(text)
