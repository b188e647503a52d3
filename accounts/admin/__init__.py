"""People and their keys, for operators; and how one signs in to the admin."""

from django.contrib import admin

from accounts.admin.keys import ApiKeyAdmin
from accounts.admin.users import UserAdmin
from accounts.forms import AdminSignInForm

__all__ = ["ApiKeyAdmin", "UserAdmin"]

admin.site.login_form = AdminSignInForm
