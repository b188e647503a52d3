"""What came of a case, whoever built it."""

from dataclasses import dataclass

from tests.conformance.image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished image, or how the build failed."""

    image: Image | None = None
    output: str = ""
    """What the build printed."""
    told: str = ""
    """What the user is told of a failure."""
    exit_code: int | None = None
    """Of the RUN that failed."""
    line: int | None = None
    """Of the Dockerfile, where it failed."""
