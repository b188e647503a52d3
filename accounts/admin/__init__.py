"""Admin pages of users and API keys, and the sign-in form of the admin."""

from django.contrib import admin

from accounts.admin.keys import ApiKeyAdmin
from accounts.admin.users import UserAdmin
from accounts.forms import AdminSignInForm

__all__ = ["ApiKeyAdmin", "UserAdmin"]

admin.site.login_form = AdminSignInForm
