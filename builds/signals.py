"""Django signals about builds, sent in the transaction of the change."""

from django.dispatch import Signal

build_ended = Signal()
"""An attempt has reached its final status. Arguments: `build_id` and `status`."""
