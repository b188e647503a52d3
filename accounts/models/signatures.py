"""Signatures that were used: each works once."""

from datetime import datetime

from django.db import IntegrityError, models, transaction
from django.utils import timezone

from accounts import hotkeys


class SpentSignatureQuerySet(models.QuerySet["SpentSignature"]):
    def spend(self, signature: bytes, *, until: datetime) -> bool:
        """Whether this is the signature's first use. Of many at once, one is the first."""
        try:
            with transaction.atomic(using=self.db):
                self.create(signature=signature, expires_at=until)
        except IntegrityError:
            return False
        if signature[0] == 0:  # one in 256 sweeps up; no process has to be told to
            self.prune()
        return True

    def prune(self) -> int:
        """Forgets those whose nonce is refused by now."""
        return self.filter(expires_at__lt=timezone.now()).delete()[0]


class SpentSignature(models.Model):
    """A signature that was used, kept for as long as its nonce would be taken."""

    signature = models.BinaryField(primary_key=True, max_length=hotkeys.SIGNATURE_BYTES)
    expires_at = models.DateTimeField()

    objects = SpentSignatureQuerySet.as_manager()

    class Meta:
        indexes = [models.Index("expires_at", name="accounts_spent_expires_at")]

    def __str__(self) -> str:
        return f"spent until {self.expires_at}"
