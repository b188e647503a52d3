"""Builds in the admin: the queue, the history, and why some failed. Changed only by lifecycle."""

from builds.admin.builds import BuildAdmin
from builds.admin.resource_classes import ResourceClassAdmin

__all__ = ["BuildAdmin", "ResourceClassAdmin"]
