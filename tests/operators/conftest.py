"""Images to act on, and who sends them."""

from tests.images.conftest import api, send

__all__ = ["api", "send"]
