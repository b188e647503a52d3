"""API keys that were found valid a moment ago, in the memory of this process.

A key that is revoked in another process is taken for at most KEPT_SECONDS more, which is also after
how long open streams are checked again. In this process everything is forgotten at once when a key
or a user changes.
"""

from time import monotonic
from typing import TYPE_CHECKING

from django.db import transaction

if TYPE_CHECKING:
    from accounts.models.keys import ApiKey

KEPT_SECONDS = 3.0
MOST = 4_096


class KeyCache:
    """By the digest of the whole key, so that knowing an id is not enough."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, ApiKey]] = {}
        self.generation = 0
        """Grows when everything is forgotten: what was read before may be out of date."""

    def get(self, digest: str) -> "ApiKey | None":
        found = self._found.get(digest)
        if found is None or found[0] < monotonic():
            return None
        return found[1] if not found[1].expired else None

    def put(self, digest: str, key: "ApiKey", generation: int) -> None:
        """Unless something changed since that generation, which was noted before the key was read.

        Nothing is kept while a transaction is open: it may see what others do not yet.
        """
        if generation != self.generation or transaction.get_connection().in_atomic_block:
            return
        if len(self._found) >= MOST:
            self._found = {}
        self._found[digest] = (monotonic() + KEPT_SECONDS, key)

    def forget(self) -> None:
        """Now, and again when the transaction under way is committed."""
        self._forget()
        if transaction.get_connection().in_atomic_block:
            transaction.on_commit(self._forget)

    def _forget(self) -> None:
        self.generation += 1
        self._found = {}


KEYS = KeyCache()
