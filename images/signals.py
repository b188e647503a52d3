"""The signal about changes of images, sent within the transaction of the change."""

from django.dispatch import Signal

image_event = Signal()
"""Sent with `event` (image_created, image_updated or image_deleted) and `image`. For a deleted
image it is sent before the deletion."""
