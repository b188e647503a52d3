"""What others are told of builds, in the transaction of the change."""

from django.dispatch import Signal

build_ended = Signal()
"""With `build_id` and `status`: an attempt has its final status."""
