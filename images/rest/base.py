"""What the views of images have in common: who may call, and which image an address means."""

from collections.abc import Mapping
from typing import Any, cast

from rest_framework.authentication import SessionAuthentication
from rest_framework.response import Response

from accounts.authentication import AUTHENTICATION, ScopePermission
from accounts.models import ApiKey, User
from accounts.websocket_auth import Caller
from api.views import ApiView
from common.error_codes import IMAGE_NOT_FOUND, TAG_MISSING, CodedError
from images.models import Image, ImageQuerySet
from images.naming import is_tagless
from images.quota import quota_of
from images.rest import rows

REF = (
    "An id, `name:tag` or `owner/name:tag`. For reading also `name` or `owner/name`, the newest "
    "image of that name. Slashes may stand as they are."
)


class ImageView(ApiView):
    """Images of the caller and public ones of others."""

    authentication_classes = AUTHENTICATION
    permission_classes = (ScopePermission,)
    lookup_field = "ref"
    signature_purpose = "images"
    scope_object = "images"
    anonymous_allowed = False
    path_texts = {"ref": REF}

    def handle_exception(self, exc: Exception) -> Response:
        """An image that was deleted meanwhile is not found."""
        gone = isinstance(exc, Image.DoesNotExist)
        return super().handle_exception(CodedError(IMAGE_NOT_FOUND) if gone else exc)

    @property
    def user(self) -> User:
        """Only where nobody else gets in."""
        return cast("User", self.request.user)

    def get_queryset(self) -> ImageQuerySet:
        return Image.objects.with_build().visible_to(self.request.user)

    def owned_images(self) -> ImageQuerySet:
        """Asking for what is visible too would keep databases from the owner's index."""
        return Image.objects.with_build().owned_by(self.request.user)

    def readable(self) -> ImageQuerySet:
        """Whose logs the caller may read."""
        images = Image.objects.with_build()
        by_office = images.readable_by if self.signed_in else images.visible_to
        return by_office(self.request.user)

    def changeable(self) -> ImageQuerySet:
        """What the caller may describe again."""
        images = Image.objects.with_build()
        return images.changeable_by(self.user) if self.signed_in else images.owned_by(self.user)

    @property
    def signed_in(self) -> bool:
        """Whether the caller came with a session.

        What operators may do with others' images is for whoever signed in: not for a key that
        leaked, nor for a signature that was captured.
        """
        return isinstance(self.request.successful_authenticator, SessionAuthentication)

    @property
    def caller(self) -> Caller:
        """As open streams ask for it again."""
        request = self.request
        session = (request.session.session_key or "") if self.signed_in else ""
        key = request.auth if isinstance(request.auth, ApiKey) else None
        return Caller(request.user, key, session)

    def meant(
        self, ref: str, within: ImageQuerySet | None = None, *, tagless: bool = False
    ) -> Image:
        """Raises CodedError where there is none that the caller may see.

        Raises MissingScope where the key is for others.
        """
        among = self.get_queryset() if within is None else within
        found = among.meant_by(ref, self.request.user, tagless=tagless)
        if found is None and not tagless and is_tagless(ref):
            raise CodedError(TAG_MISSING, name=ref.strip("/"))
        if found is None:
            raise CodedError(IMAGE_NOT_FOUND)
        self.check_object_permissions(self.request, found)
        return found

    def owned(self, ref: str) -> Image:
        """One of the caller's own."""
        return self.meant(ref, self.get_queryset().owned_by(self.request.user))


def ordered(image: Image, caller: User) -> Response:
    """202 for a build that was asked for, with what is left of the caller's quota."""
    response = accepted(rows.accepted(image))
    for name, value in quota_of(caller).headers.items():
        response[name] = value
    return response


def accepted(told: Mapping[str, Any]) -> Response:
    """202, with the address at which the image is to be looked at."""
    return Response(told, status=202, headers={"Location": f"/images/{told['image_id']}"})
