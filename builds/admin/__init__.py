"""Builds in the admin: the queue, the history, and why some failed. Changed only by lifecycle."""

from builds.admin.builds import BuildAdmin

__all__ = ["BuildAdmin"]
