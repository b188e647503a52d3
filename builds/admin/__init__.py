"""Builds in the admin: queue, history, failures. All changes go through `builds.lifecycle`."""

from builds.admin.builds import BuildAdmin
from builds.admin.resource_classes import ResourceClassAdmin

__all__ = ["BuildAdmin", "ResourceClassAdmin"]
