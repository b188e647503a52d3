"""What an engine knows of a build: a frozen spec in, events while it runs, a frozen outcome out.

No Django here.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import UUID

Stream = Literal["stdout", "stderr"]
Output = tuple[Stream, bytes]
"""Raw bytes as a child process wrote them. `(stream, b"")` is a tick: nothing new, still alive."""
StepState = Literal["started", "cached", "succeeded", "failed", "cancelled"]


class StepOutput(NamedTuple):
    """Bytes that a build wrote to one of its streams; empty bytes are a tick."""

    stream: Stream
    data: bytes
    step: int | None = None
    """The `Step.number` that wrote it; None for output that belongs to no step."""


class StepUpdate(NamedTuple):
    """A step changed its state. Each step starts once (or is "cached") and ends once."""

    step: int
    """`Step.number`."""
    state: StepState
    at: datetime
    """When it happened, by the engine's clock, in UTC."""


BuildEvent = StepOutput | StepUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instruction of a stage that the build needs."""

    number: int
    """Counted from 1 over all needed stages, in the order of the Dockerfile."""
    stage: str
    """The stage's name as written in lower case, `stage-<index>` for one without a name, and
    empty where the Dockerfile has a single stage."""
    position: int | None
    """What BuildKit counts within the stage (`[stage position/total]`): FROM of anything but
    scratch, RUN, COPY, ADD and WORKDIR. None for instructions that do no work (ENV, CMD, LABEL)."""
    line: int
    """Where the instruction starts in the Dockerfile, from 1."""
    text: str
    """The instruction in one line, as the user wrote it, at most 300 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An image that a needed stage is built from or copies from."""

    context: str
    """The name that stands for it in the Dockerfile given to the engine, `slipway-base-<n>`."""
    reference: str
    """Fully qualified, such as `docker.io/library/python:3.12` or `host/name@sha256:…`."""
    platform: str
    """`os/arch[/variant]` that was asked for; the platform of the build where none was."""
    line: int
    """The first line that names it."""


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
    """Whose layer cache is used: cache is shared only with oneself."""
    label: str
    """`owner/name:tag`, for people reading process lists and logs."""
    context: Path
    """The unpacked build context. Only read."""
    dockerfile: str
    """The text to build, with a name of ours (`Base.context`) for every base image."""
    steps: tuple[Step, ...] = ()
    bases: tuple[str, ...]
    """Fully qualified references of the images that FROM and COPY --from name, each once."""
    own_bases: tuple[tuple[str, str], ...] = ()
    """More of them, with the digest that each has now: those in Slipway's own registry. They may be
    private to the owner, who may pull them; other owners' builds must not find them."""
    auth_file: Path | None = None
    """Credentials for `own_bases`, as the owner. Never shown to a sandbox of a build."""
    build_args: tuple[tuple[str, str], ...]
    target: str = ""
    """The stage to build; empty for the last one."""
    no_cache: bool = False
    """Run every step, whatever the cache holds."""
    pull: bool = False
    """Ask the registry for every base, however fresh our copy is."""
    labels: tuple[tuple[str, str], ...] = ()
    """Added to the image's config, over those of the Dockerfile."""
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
