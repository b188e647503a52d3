"""Forms of the sign-in, password and API key pages, and of the admin's sign-in."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.utils import timezone

from accounts import scopes
from accounts.client_address import client_address
from accounts.models import ApiKey, SignInAttempt, TooManyAttempts, User
from accounts.models.keys import LABEL_CHARACTERS


class SignInForm(AuthenticationForm):
    """Sign-in form of the pages, with a rate limit of failed attempts."""

    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": "Wrong name or password. Names are case-sensitive.",
    }

    def clean(self) -> dict[str, Any]:
        """Check the password unless there were too many failed attempts."""
        name = self.cleaned_data.get("username")
        if name is None or not self.cleaned_data.get("password") or self.request is None:
            return super().clean()
        try:
            attempt = SignInAttempt.objects.begin(name=name, address=client_address(self.request))
        except TooManyAttempts as problem:
            raise forms.ValidationError(str(problem), code="too_many") from problem
        cleaned = super().clean()
        attempt.succeeded()
        return cleaned


class AdminSignInForm(SignInForm, AdminAuthenticationForm):
    """Sign-in form of the admin: operators only."""

    error_messages = {**AdminAuthenticationForm.error_messages}


class NewPasswordForm(PasswordChangeForm):
    """A wrong old password counts as a failed sign-in, so that an open session cannot be used to
    guess the password."""

    def __init__(self, user: User, address: str, data: Any = None) -> None:
        super().__init__(user, data)
        self.address = address

    def clean_old_password(self) -> str:
        name = self.user.get_username()
        try:
            attempt = SignInAttempt.objects.begin(name=name, address=self.address)
        except TooManyAttempts as problem:
            raise forms.ValidationError(str(problem), code="too_many") from problem
        old = super().clean_old_password()
        attempt.succeeded()
        return old


GRANTS = {
    "all": ("Everything that you may do, making keys included", [scopes.ALL]),
    "work": ("Send, read, rebuild and describe images", ["images:read", "images:write"]),
    "read": ("Read images and logs, and pull", ["images:read"]),
}
LIVES = {
    "": ("without end", None),
    "30": ("30 days", 30),
    "90": ("90 days", 90),
    "365": ("a year", 365),
}


class OwnKeyForm(forms.Form):
    """Creates a key for the user. The form carries the new key's id, so that sending it twice
    creates only one key."""

    label = forms.CharField(max_length=LABEL_CHARACTERS)
    grant = forms.ChoiceField(choices=[(name, text) for name, (text, _) in GRANTS.items()])
    days = forms.ChoiceField(
        choices=[(name, text) for name, (text, _) in LIVES.items()], required=False
    )
    key_id = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, user: User, data: Any = None) -> None:
        super().__init__(data, initial={"key_id": uuid4(), "grant": "work", "days": "90"})
        self.user = user

    def clean_label(self) -> str:
        label: str = self.cleaned_data["label"]
        if ApiKey.objects.usable().filter(user=self.user, label=label).exists():
            raise forms.ValidationError(
                "You have a key of that name: revoke it, or choose another."
            )
        return label

    def clean_key_id(self) -> Any:
        found = self.cleaned_data["key_id"]
        if ApiKey.objects.filter(pk=found).exists():
            text = "This form was sent before, and its key was shown then. Open the page again."
            raise forms.ValidationError(text)
        return found

    def issue(self) -> tuple[ApiKey, str]:
        """Create the key. Returns it and its text, which is shown once."""
        data = self.cleaned_data
        days = LIVES[data["days"]][1]
        return ApiKey.objects.issue(
            self.user,
            label=data["label"],
            scopes=GRANTS[data["grant"]][1],
            expires_at=timezone.now() + timedelta(days=days) if days else None,
            key_id=data["key_id"],
        )
