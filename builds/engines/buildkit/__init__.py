"""The default engine: builds images with BuildKit in sandboxes."""

from builds.engines.buildkit.engine import BuildKitEngine

__all__ = ["BuildKitEngine"]
