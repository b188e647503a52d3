"""In-process cache of API keys that were found valid.

A key that is revoked in another process is accepted for at most KEPT_SECONDS more; open streams are
re-checked at the same interval. When a key or a user changes in this process, the cache is cleared
at once.
"""

from time import monotonic
from typing import TYPE_CHECKING

from django.db import transaction

if TYPE_CHECKING:
    from accounts.models.keys import ApiKey

KEPT_SECONDS = 3.0
MOST = 4_096


class KeyCache:
    """Keyed by the digest of the whole key, so that knowing a key's id is not enough."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, ApiKey]] = {}
        self.generation = 0
        """Incremented when the cache is cleared: data read before that may be stale."""

    def get(self, digest: str) -> "ApiKey | None":
        """The cached key, unless its entry or the key itself has expired."""
        found = self._found.get(digest)
        if found is None or found[0] < monotonic():
            return None
        return found[1] if not found[1].expired else None

    def put(self, digest: str, key: "ApiKey", generation: int) -> None:
        """Cache a key, unless the cache was cleared since `generation`, which was noted before the
        key was read.

        Nothing is cached inside a transaction, which may see changes that are not committed yet.
        """
        if generation != self.generation or transaction.get_connection().in_atomic_block:
            return
        if len(self._found) >= MOST:
            self._found = {}
        self._found[digest] = (monotonic() + KEPT_SECONDS, key)

    def forget(self) -> None:
        """Clear the cache now, and again when the current transaction commits."""
        self._forget()
        if transaction.get_connection().in_atomic_block:
            transaction.on_commit(self._forget)

    def _forget(self) -> None:
        self.generation += 1
        self._found = {}


KEYS = KeyCache()
