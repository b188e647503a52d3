"""Rate limit of password sign-ins.

Attempts are counted per name and address together, and per address. Never per name alone: anybody
could then lock a user out.
"""

import math
from datetime import timedelta

from django.db import models
from django.utils import timezone

WINDOW = timedelta(minutes=5)
BY_NAME = 5
"""Wrong passwords for one name from one address, within `WINDOW`."""
BY_ADDRESS = 30
"""Wrong passwords from one address for all names, within `WINDOW`. Higher, as users may share one.
"""
PRUNED_EVERY = 64
NAME_CHARACTERS = 32


class TooManyAttempts(Exception):
    """Sign-in is blocked for `seconds`, even with the right password."""

    def __init__(self, seconds: float) -> None:
        self.minutes = max(1, math.ceil(seconds / 60))
        unit = "minute" if self.minutes == 1 else "minutes"
        super().__init__(f"Too many wrong passwords: try again in {self.minutes} {unit}.")
        self.seconds = seconds


class SignInAttemptQuerySet(models.QuerySet["SignInAttempt"]):
    def begin(self, *, name: str, address: str) -> "SignInAttempt":
        """Record an attempt. Call it before the password is checked. Raises TooManyAttempts.

        The attempt is stored as a failure and then counted with the others, so that concurrent
        attempts cannot exceed the limit. Blocked attempts are not kept.
        """
        name = name.lower()[:NAME_CHARACTERS]
        self._check(name, address, room=1)
        attempt = self.create(name=name, address=address)
        try:
            self._check(name, address, room=0)
        except TooManyAttempts:
            attempt.delete()
            raise
        if attempt.pk % PRUNED_EVERY == 0:
            self.prune()
        return attempt

    def _check(self, name: str, address: str, *, room: int) -> None:
        now = timezone.now()
        lately = self.filter(address=address, at__gt=now - WINDOW).order_by("-at", "-id")
        found = list(lately.values_list("name", "at")[: BY_ADDRESS + 1])
        same = [at for each, at in found if each == name]
        for times, limit in ((same, BY_NAME), ([at for _, at in found], BY_ADDRESS)):
            if len(times) + room > limit:
                raise TooManyAttempts((times[limit - 1] + WINDOW - now).total_seconds())

    def prune(self) -> int:
        """Delete attempts older than `WINDOW` and return how many."""
        return self.filter(at__lte=timezone.now() - WINDOW).delete()[0]


class SignInAttempt(models.Model):
    """A failed sign-in, or one whose password is being checked."""

    address = models.CharField(max_length=64)
    name = models.CharField(max_length=NAME_CHARACTERS)
    at = models.DateTimeField(default=timezone.now)

    objects = SignInAttemptQuerySet.as_manager()

    class Meta:
        indexes = [models.Index("address", "at", name="accounts_attempt_address")]

    def __str__(self) -> str:
        return f"{self.name} from {self.address}"

    def succeeded(self) -> None:
        """The password was right: delete the failures for this name from this address."""
        SignInAttempt.objects.filter(name=self.name, address=self.address).delete()
