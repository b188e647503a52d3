"""Images in the admin. They are displayed here, and changed only through the catalog."""

from images.admin.images import ImageAdmin

__all__ = ["ImageAdmin"]
