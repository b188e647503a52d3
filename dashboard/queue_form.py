"""The user's form in the admin, with the fields for the user's share of the queue."""

from typing import Any

from django import forms
from django.contrib.auth.forms import UserChangeForm

from accounts.models import User
from builds.lifecycle import request_share
from builds.models import Priority, QueueOwner
from builds.models.queue import MOST_WEIGHT
from builds.queue.turns import most_running

FIELDS = ("queue_priority", "queue_weight", "most_running")


class QueueForm(UserChangeForm[User]):
    queue_priority = forms.TypedChoiceField(
        coerce=int,
        choices=Priority.choices,
        help_text="Builds of a higher priority start before all of a lower one.",
    )
    queue_weight = forms.IntegerField(
        min_value=1,
        max_value=MOST_WEIGHT,
        help_text="A user of weight 2 gets twice as many build slots as one of weight 1.",
    )
    most_running = forms.IntegerField(
        label="builds at once",
        required=False,
        min_value=0,
        max_value=32_767,
        help_text="Empty for the default, 0 to let none start.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        owner = QueueOwner.objects.filter(pk=self.instance.pk).first() or QueueOwner()
        self.initial.update(
            queue_priority=owner.priority,
            queue_weight=owner.weight,
            most_running=owner.most_running,
        )
        default = most_running()
        told = "no limit" if default is None else f"{default}"
        if "most_running" in self.fields:
            field = self.fields["most_running"]
            field.help_text = f"Empty for the default ({told}), 0 to let none start."

    def save_share(self) -> None:
        """Save the queue's fields, if one was changed."""
        if set(self.changed_data) & set(FIELDS):
            request_share(
                self.instance.pk,
                priority=self.cleaned_data["queue_priority"],
                weight=self.cleaned_data["queue_weight"],
                most_running=self.cleaned_data["most_running"],
            )
