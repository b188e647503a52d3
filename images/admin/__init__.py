"""Images in the admin: looked at here, changed only through the catalog."""

from images.admin.images import ImageAdmin

__all__ = ["ImageAdmin"]
