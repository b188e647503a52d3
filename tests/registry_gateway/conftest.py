"""Clients of the API, which make the images that are pulled."""

from tests.images.conftest import api, send, strangers_api

__all__ = ["api", "send", "strangers_api"]
