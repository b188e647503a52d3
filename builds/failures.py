"""Reasons why attempts end without an image."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt failed: who has to act, a stable code, one sentence."""

    fault: Literal["user", "service"]
    code: str
    text: str
    exit_code: int | None = None
    """Exit code of the command that failed, if one did."""


CANCELLED = Failure(fault="user", code="cancelled", text="cancelled")
INTERRUPTED = Failure(
    fault="service",
    code="interrupted",
    text="interrupted: Slipway was stopped; the build starts again",
)
WORKER_LOST = Failure(
    fault="service", code="worker-lost", text="interrupted: its worker died; the build starts again"
)
BUILDER_LOST = Failure(
    fault="service",
    code="builder-lost",
    text="interrupted: its builder was killed; the build starts again",
)
MANIFEST_GONE = Failure(
    fault="service",
    code="manifest-gone",
    text="the image is no longer in the registry: build it again",
)
