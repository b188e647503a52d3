"""URLs of sign-in, users and API keys. A key's name may contain any character."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from accounts.forms import SignInForm
from accounts.views import KeyView, NameCheckView

urlpatterns = [
    path(
        "sign-in",
        LoginView.as_view(template_name="pages/sign_in.html", authentication_form=SignInForm),
        name="sign-in",
    ),
    path("sign-out", LogoutView.as_view(), name="sign-out"),
    path("users/name_check", NameCheckView.as_view({"get": "retrieve"})),
    path("api_keys/", KeyView.as_view({"get": "list", "post": "create"})),
    path("api_keys/<path:ref>", KeyView.as_view({"get": "retrieve", "delete": "destroy"})),
]
