"""Reasons why a build waits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A reason why a build waits."""

    code: str
    """One of CODES."""
    text: str
    """A sentence for all users."""
    detail: str = ""
    """An additional sentence for operators; may be empty."""


STANDSTILL = frozenset({"paused", "no-worker", "quarantined", "draining", "no-worker-for-class"})
"""Reasons for which no build starts."""
CODES = (*sorted(STANDSTILL), "retry", "owner-limit", "busy", "starting")
