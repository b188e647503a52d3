"""What an engine may know of a build: frozen orders in, a frozen outcome out. No Django here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

Stream = Literal["stdout", "stderr"]
Output = tuple[Stream, bytes]
"""Raw bytes as the child wrote them; `(stream, b"")` is a tick that says only "still here"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The outer limits of one build. Held where the machine allows it; start-up says where not."""

    memory_bytes: int
    pids: int
    cpus: float
    disk_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSpec:
    """One attempt, complete: an engine needs nothing else and may read nothing else."""

    build_id: UUID
    owner_id: UUID
    """Whose layer store is used: cache is shared only with oneself."""
    label: str
    """`owner/name:tag`, for people reading process lists and logs."""
    context: Path
    """The unpacked build context. Only read."""
    dockerfile: str
    """The text to build, already past the policy, with every base a plain reference."""
    bases: tuple[str, ...]
    """Fully qualified references of the images that FROM and COPY --from name, each once."""
    own_bases: tuple[tuple[str, str], ...] = ()
    """More of them, with the digest that each has now: those in Slipway's own registry. They may be
    private to the owner, who may pull them; other owners' builds must not find them."""
    auth_file: Path | None = None
    """Credentials for `own_bases`, as the owner. Never behind the wall."""
    build_args: tuple[tuple[str, str], ...]
    network: bool
    """Whether RUN and ADD may reach the internet (never a private address)."""
    limits: Limits
    work: Path
    """An empty folder of this attempt's own. The caller removes it afterwards through `discard`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutcome:
    """A finished image, as an OCI layout holding exactly one manifest."""

    layout: Path
    digest: str
    """`sha256:<64 hex>` of the manifest: what a registry will answer as Docker-Content-Digest."""
    size_bytes: int
    """Compressed layers and config together: what a pull transfers."""
