"""Admin forms to issue and edit API keys."""

from typing import Any
from uuid import uuid4

from django import forms
from django.utils import timezone

from accounts import rights, scopes
from accounts.models import ApiKey, User

GRANTS = (
    (scopes.ALL, "Everything that its user may do, making keys included"),
    ("images:read", "Look at images and their logs, and pull"),
    ("images:write", "Send, rebuild, cancel and describe images"),
    ("images:delete", "Delete images"),
)


class MomentInput(forms.DateTimeInput):
    """Browser's date and time picker, in place of Django's two text inputs."""

    input_type = "datetime-local"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, format="%Y-%m-%dT%H:%M")


class IssueForm(forms.ModelForm[ApiKey]):
    """Issues a key. The form carries the new key's id, so that sending it twice issues only one
    key."""

    actor: User

    key_id = forms.UUIDField(widget=forms.HiddenInput)
    grants = forms.MultipleChoiceField(
        label="May", choices=GRANTS, widget=forms.CheckboxSelectMultiple
    )
    only_image = forms.UUIDField(
        required=False,
        label="Only for image",
        help_text="The id of one image, to bind the key to it; empty for every image.",
        error_messages={"invalid": "This is no image's id, which looks like 6c3d…-…-… ."},
    )

    class Meta:
        model = ApiKey
        fields = ("user", "label", "expires_at")
        field_classes = {"expires_at": forms.DateTimeField}
        widgets = {"expires_at": MomentInput}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["key_id"].initial = uuid4

    def clean_user(self) -> User:
        user: User = self.cleaned_data["user"]
        if not rights.reaches(self.actor, user):
            raise forms.ValidationError(
                f"{user.username} has rights that you lack: a superuser has to issue this key."
            )
        if not user.is_active:
            raise forms.ValidationError(
                f"{user.username} is not active, and no key of theirs would work."
            )
        return user

    def clean_expires_at(self) -> Any:
        return checked_expiry(self.cleaned_data["expires_at"])

    def clean_grants(self) -> list[str]:
        granted: list[str] = self.cleaned_data["grants"]
        return [scopes.ALL] if scopes.ALL in granted else granted

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        identity = found.get("key_id")
        if identity is not None and ApiKey.objects.filter(pk=identity).exists():
            raise forms.ValidationError(
                "This form was sent before, and its key was issued and shown then. If nobody has "
                "copied it, revoke that key and begin with a new form."
            )
        image = found.get("only_image")
        if image and found.get("grants") == [scopes.ALL]:
            self.add_error(
                "only_image", "A key for everything is for every image: take that tick off first."
            )
        return found

    @property
    def granted(self) -> list[str]:
        """The scopes of the key, in the format of `accounts.scopes`."""
        image = self.cleaned_data["only_image"]
        return [f"{grant}:{image}" if image else grant for grant in self.cleaned_data["grants"]]


def checked_expiry(moment: Any) -> Any:
    """Return the expiry unchanged. Raises ValidationError if it is in the past."""
    if moment is not None and moment <= timezone.now():
        raise forms.ValidationError("This is past: the key would never work.")
    return moment


class KeyForm(forms.ModelForm[ApiKey]):
    """Edits the label and expiry of an issued key."""

    class Meta:
        model = ApiKey
        fields = ("label", "expires_at")
        field_classes = {"expires_at": forms.DateTimeField}
        widgets = {"expires_at": MomentInput}

    def clean_expires_at(self) -> Any:
        moment = self.cleaned_data["expires_at"]
        return checked_expiry(moment) if "expires_at" in self.changed_data else moment
