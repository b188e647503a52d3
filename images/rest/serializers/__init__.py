"""The bodies of the Chutes Images API: forms that come in, answers that go out."""

from images.rest.serializers.requests import (
    ChangeSerializer,
    LogoUploadSerializer,
    OrderSerializer,
    RebuildSerializer,
    checked_order,
    wanted,
)
from images.rest.serializers.responses import (
    AcceptedSerializer,
    BuildSerializer,
    DeletedSerializer,
    ImageDetailSerializer,
    ImageSerializer,
    LogoSerializer,
)

__all__ = [
    "AcceptedSerializer",
    "BuildSerializer",
    "ChangeSerializer",
    "DeletedSerializer",
    "ImageDetailSerializer",
    "ImageSerializer",
    "LogoSerializer",
    "LogoUploadSerializer",
    "OrderSerializer",
    "RebuildSerializer",
    "checked_order",
    "wanted",
]
