"""The build that the current thread works on, for log records."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

BUILD_ID: ContextVar[str] = ContextVar("build_id", default="")


@contextmanager
def working_on(build_id: UUID) -> Iterator[None]:
    """Add the build's id to every record that this thread logs inside the block."""
    token = BUILD_ID.set(str(build_id))
    try:
        yield
    finally:
        BUILD_ID.reset(token)
