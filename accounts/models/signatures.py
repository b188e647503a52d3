"""Used signatures: each is accepted once."""

from datetime import datetime

from django.db import IntegrityError, models, transaction
from django.utils import timezone

from accounts import hotkeys


class SpentSignatureQuerySet(models.QuerySet["SpentSignature"]):
    def spend(self, signature: bytes, *, until: datetime) -> bool:
        """Record the signature as used until `until`. Returns whether this is its first use; of
        concurrent calls only one returns True."""
        try:
            with transaction.atomic(using=self.db):
                self.create(signature=signature, expires_at=until)
        except IntegrityError:
            return False
        if signature[0] == 0:  # prune on one of 256 calls, so that no periodic job is needed
            self.prune()
        return True

    def prune(self) -> int:
        """Delete signatures whose nonce has expired and return how many."""
        return self.filter(expires_at__lt=timezone.now()).delete()[0]


class SpentSignature(models.Model):
    """A used signature, kept until its nonce expires."""

    signature = models.BinaryField(primary_key=True, max_length=hotkeys.SIGNATURE_BYTES)
    expires_at = models.DateTimeField()

    objects = SpentSignatureQuerySet.as_manager()

    class Meta:
        indexes = [models.Index("expires_at", name="accounts_spent_expires_at")]

    def __str__(self) -> str:
        return f"spent until {self.expires_at}"
