"""What the default storage can beside what Django's can: a folder and a bucket both do."""

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol, cast

from django.core.files.storage import default_storage


class Files(Protocol):
    """Raises OSError where the storage does not answer."""

    shared: bool
    """Whether other machines see the same files."""

    def old(self, folder: str, *, before: datetime) -> Iterator[str]:
        """The keys of what was stored in that folder before then."""

    def answer(self) -> None:
        """Returns where files can be stored."""


def files() -> Files:
    return cast("Files", default_storage)
