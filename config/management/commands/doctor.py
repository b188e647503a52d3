"""`manage.py doctor`: checks everything that Slipway needs, and says what to do."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from observability.doctor import look


class Command(BaseCommand):
    help = "Checks this machine from the kernel to the registry. Ends with 1 where nothing builds."
    requires_system_checks = []  # the doctor runs and reports them itself

    def handle(self, *args: Any, **options: Any) -> None:
        fatal = 0
        for each in look():
            mark = "ok  " if each.well else "STOP" if each.fatal else "note"
            self.stdout.write(f"{mark}  {each.part:<9} {each.saw}")
            if not each.well:
                self.stdout.write(f"                {each.hint}")
            self.stdout.flush()
            fatal += each.fatal
        if fatal:
            raise CommandError(f"{fatal} of these stop builds.")
        self.stdout.write("Nothing stops builds.")
