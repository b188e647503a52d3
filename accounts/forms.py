"""Signing in with a password, on the pages and in the admin alike."""

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm

from accounts.client_address import client_address
from accounts.models import SignInAttempt, TooManyAttempts


class SignInForm(AuthenticationForm):
    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": "Wrong name or password. Names are case-sensitive.",
    }

    def clean(self) -> dict[str, Any]:
        """Looks at the password where there were not too many wrong ones before."""
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
    """The admin's: the same, for operators only."""

    error_messages = {**AdminAuthenticationForm.error_messages}
