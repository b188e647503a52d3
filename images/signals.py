"""What others are told of images, in the transaction of the change."""

from django.dispatch import Signal

image_event = Signal()
"""With `event` (image_created, image_updated or image_deleted) and `image`. One that is deleted is
told before."""
