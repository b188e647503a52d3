"""Which build a thread is at: whatever it logs says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

BUILD_ID: ContextVar[str] = ContextVar("build_id", default="")


@contextmanager
def working_on(build_id: UUID) -> Iterator[None]:
    """Every record logged by this thread until the block ends carries the build's id."""
    token = BUILD_ID.set(str(build_id))
    try:
        yield
    finally:
        BUILD_ID.reset(token)
