"""Builds with BuildKit in sandboxes: the default engine."""

from builds.engines.buildkit.engine import BuildKitEngine

__all__ = ["BuildKitEngine"]
