"""An uploaded zip becomes a folder that a build may read, or is refused in one clear sentence."""

from builds.context.archive import ContextLimits, ContextRefused
from builds.context.unpacking import ContextSummary, unpack

__all__ = ["ContextLimits", "ContextRefused", "ContextSummary", "unpack"]
