"""Builds with buildah behind the wall: the default engine."""

from builds.engines.buildah.engine import BuildahEngine

__all__ = ["BuildahEngine"]
