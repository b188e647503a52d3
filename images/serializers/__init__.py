"""The bodies of the Chutes Images API: forms that come in, answers that go out."""

from images.serializers.answers import (
    AcceptedSerializer,
    BuildSerializer,
    DeletedSerializer,
    ImageDetailSerializer,
    ImageSerializer,
    LogoSerializer,
)
from images.serializers.forms import ChangeSerializer, LogoUploadSerializer, OrderSerializer

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
]
