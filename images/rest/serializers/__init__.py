"""The bodies of the Chutes Images API: forms of requests, and answers."""

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
