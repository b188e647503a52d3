"""Interface of the file storages (folder, bucket), beyond Django's own storage API."""

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol, cast

from django.core.files.storage import default_storage


class Files(Protocol):
    """Every method raises OSError while the storage does not respond."""

    shared: bool
    """Whether other machines see the same files."""

    def old(self, folder: str, *, before: datetime) -> Iterator[str]:
        """Names of the files in `folder` that were last modified before `before`."""

    def answer(self) -> None:
        """Check that the storage responds. Raises OSError if it does not."""


def files() -> Files:
    """The configured file storage."""
    return cast("Files", default_storage)
