"""API views: check of user names, and the caller's API keys."""

import re
from typing import cast
from uuid import UUID

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import AUTHENTICATION, ScopePermission
from accounts.models import ApiKey, ApiKeyQuerySet, User
from accounts.models.users import USERNAME
from accounts.serializers import (
    CreatedKeySerializer,
    EndedKeySerializer,
    KeyOrderSerializer,
    KeySerializer,
    NameCheckSerializer,
)
from api.fields import QueryNeedle
from api.filters import PageLimit, PageNumber, TextFilter
from api.media_types import JsonParser
from api.schema import refusals
from api.views import ApiView
from common.error_codes import KEY_NAME_TAKEN, KEY_NOT_FOUND, CodedError
from database.substring_lookups import LowerIs


class AccountView(ApiView):
    """Base of account views. API keys need the scope `all` (so that others cannot create keys)
    unless the view sets `any_key`."""

    authentication_classes = AUTHENTICATION
    permission_classes = (ScopePermission,)

    @property
    def user(self) -> User:
        return cast("User", self.request.user)


class NameCheckView(AccountView):
    signature_purpose = "me"
    any_key = True
    queries = {
        "retrieve": {"username": QueryNeedle(most=200, help_text="The name to look for.")},
    }

    @extend_schema(operation_id="check_name", responses=NameCheckSerializer)
    def retrieve(self, request: Request) -> Response:
        """Whether a name is valid for a user, and whether it is available, ignoring case."""
        name = self.query()["username"]
        valid = re.match(USERNAME, name) is not None
        taken = valid and User.objects.filter(LowerIs("username", name)).exists()
        return Response({"valid": valid, "available": valid and not taken})


class KeyFilter(django_filters.FilterSet):
    name = TextFilter("label", help_text="A part of the name.")
    page = PageNumber()
    limit = PageLimit()

    class Meta:
        model = ApiKey
        fields: list[str] = []


class KeyView(AccountView):
    signature_purpose = "api_keys"
    lookup_field = "ref"
    parser_classes = (JsonParser,)
    body_limits = {"POST": 64 * 1024}
    queries = {"list": KeyFilter}
    path_texts = {"ref": "The key's id, or its name."}

    def get_queryset(self) -> ApiKeyQuerySet:
        return ApiKey.objects.usable().filter(user=self.user)

    @extend_schema(
        operation_id="list_api_keys",
        responses=KeySerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        """The caller's keys, newest first."""
        found = self.filtered(KeyFilter, self.get_queryset())
        return self.paged(found.order_by("-created_at", "-id"), KeySerializer)

    @extend_schema(
        operation_id="create_api_key",
        request=KeyOrderSerializer,
        responses={200: CreatedKeySerializer, **refusals(KEY_NAME_TAKEN)},
    )
    def create(self, request: Request) -> Response:
        """Create a key. Only this response contains its secret.

        It expires no later than the key that creates it.
        """
        form = KeyOrderSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        name = form.validated_data["name"]
        if self.get_queryset().filter(label=name).exists():
            raise CodedError(KEY_NAME_TAKEN, name=name)
        own = request.auth.expires_at if isinstance(request.auth, ApiKey) else None
        expires_at = min((each for each in (own, form.chosen_end) if each), default=None)
        key, text = ApiKey.objects.issue(
            self.user, label=name, scopes=form.granted, expires_at=expires_at
        )
        told = {**KeySerializer(key).data, "secret_key": text}
        return Response(told, headers={"Cache-Control": "no-store"})

    @extend_schema(operation_id="get_api_key", responses=KeySerializer)
    def retrieve(self, request: Request, ref: str) -> Response:
        """One of the caller's keys, without its secret."""
        return Response(KeySerializer(self.meant(ref)).data)

    @extend_schema(operation_id="delete_api_key", responses={200: EndedKeySerializer})
    def destroy(self, request: Request, ref: str) -> Response:
        """Revoke a key. It stops working at once."""
        key = self.meant(ref)
        self.get_queryset().filter(pk=key.pk).revoke()
        return Response({"api_key_id": key.pk, "deleted": True})

    def meant(self, ref: str) -> ApiKey:
        """The key with this id, or the newest with this name. Raises CodedError."""
        keys = self.get_queryset()
        found = None
        try:
            found = keys.filter(pk=UUID(ref)).first()
        except ValueError:
            if "\0" not in ref:
                found = keys.filter(label=ref).order_by("-created_at", "-id").first()
        if found is None:
            raise CodedError(KEY_NOT_FOUND)
        return found
