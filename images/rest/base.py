"""What the views of images have in common: who may call, and which image a reference means."""

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
        """Answers 404 for an image that was deleted meanwhile."""
        gone = isinstance(exc, Image.DoesNotExist)
        return super().handle_exception(CodedError(IMAGE_NOT_FOUND) if gone else exc)

    @property
    def user(self) -> User:
        """The user, for views that require one."""
        return cast("User", self.request.user)

    def get_queryset(self) -> ImageQuerySet:
        return Image.objects.with_build().visible_to(self.request.user)

    def owned_images(self) -> ImageQuerySet:
        """Only the caller's own images. With all visible ones, databases would not use the
        owner's index."""
        return Image.objects.with_build().owned_by(self.request.user)

    def readable(self) -> ImageQuerySet:
        """Images whose logs the caller may read."""
        images = Image.objects.with_build()
        by_office = images.readable_by if self.signed_in else images.visible_to
        return by_office(self.request.user)

    def changeable(self) -> ImageQuerySet:
        """Images that the caller may change."""
        images = Image.objects.with_build()
        return images.changeable_by(self.user) if self.signed_in else images.owned_by(self.user)

    @property
    def signed_in(self) -> bool:
        """Whether the caller has a session.

        The rights of operators need one, so that a leaked key or a captured signature does not have
        them.
        """
        return isinstance(self.request.successful_authenticator, SessionAuthentication)

    @property
    def caller(self) -> Caller:
        """The caller, in a form with which open streams can check access again."""
        request = self.request
        session = (request.session.session_key or "") if self.signed_in else ""
        key = request.auth if isinstance(request.auth, ApiKey) else None
        return Caller(request.user, key, session)

    def meant(
        self, ref: str, within: ImageQuerySet | None = None, *, tagless: bool = False
    ) -> Image:
        """The image that `ref` means.

        Raises CodedError if the caller may see no such image, and MissingScope if the key is for
        other images.
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
        """The image that `ref` means, if the caller owns it."""
        return self.meant(ref, self.get_queryset().owned_by(self.request.user))


def ordered(image: Image, caller: User) -> Response:
    """202 for a requested build, with the rest of the caller's quota."""
    response = accepted(rows.accepted(image))
    for name, value in quota_of(caller).headers.items():
        response[name] = value
    return response


def accepted(told: Mapping[str, Any]) -> Response:
    """202, with the URL of the image."""
    return Response(told, status=202, headers={"Location": f"/images/{told['image_id']}"})
