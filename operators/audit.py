"""Entries of the audit log: who did what to which row."""

from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model


def write_entry(
    user: Any, *, model: type[Model], object_id: Any, name: str, text: str, flag: int = CHANGE
) -> None:
    """Add an entry. `flag` is one of ADDITION, CHANGE and DELETION."""
    LogEntry.objects.create(
        user_id=user.pk,
        content_type=ContentType.objects.get_for_model(model),
        object_id=str(object_id),
        object_repr=name[:200],
        action_flag=flag,
        change_message=text,
    )
