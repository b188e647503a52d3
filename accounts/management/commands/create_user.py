"""`manage.py create_user NAME`: create a user and print it as JSON."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import User
from accounts.rights import make_operator


class Command(BaseCommand):
    help = "Makes a user without a password (`changepassword` gives one) and prints it as JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--hotkey", metavar="SS58", help="the key that signs its requests")
        parser.add_argument("--staff", action="store_true", help="an operator, without limits")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                user = User.objects.create_user(options["name"], hotkey=options["hotkey"])
                if options["staff"]:
                    make_operator(user)
        except ValidationError as problem:
            raise CommandError(" ".join(problem.messages)) from problem
        self.stdout.write(
            json.dumps(
                {
                    "user_id": str(user.pk),
                    "username": user.username,
                    "hotkey": user.hotkey,
                    "is_staff": user.is_staff,
                    "created_at": user.created_at.isoformat().replace("+00:00", "Z"),
                }
            )
        )
