"""Why a build waits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    code: str
    """One of CODES."""
    text: str
    """A sentence for everybody."""
    detail: str = ""
    """A sentence for operators besides; empty where there is nothing more to say."""


STANDSTILL = frozenset({"paused", "no-worker", "quarantined", "draining", "no-worker-for-class"})
"""Reasons for which nothing moves."""
CODES = (*sorted(STANDSTILL), "retry", "owner-limit", "busy", "starting")
