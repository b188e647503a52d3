"""Interface of build engines: a frozen spec in, events during the build, a frozen outcome.

Independent of Django.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import UUID

Stream = Literal["stdout", "stderr"]
Output = tuple[Stream, bytes]
"""Raw bytes as a child process wrote them. `(stream, b"")` is a tick: no output, still running."""
DEFAULT_CLASS = "default"
"""The resource class whose limits come from the settings."""
RESOURCE_CLASS = r"\A[a-z0-9]+(-[a-z0-9]+)*\Z"
StepState = Literal["started", "cached", "succeeded", "failed", "cancelled"]


class StepOutput(NamedTuple):
    """Bytes that a build wrote to one of its streams. Empty bytes are a tick: no output, still
    running."""

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
    """When it happened by the engine's clock, in UTC."""


BuildEvent = StepOutput | StepUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instruction of a stage that the build needs."""

    number: int
    """Number from 1 over all needed stages, in the order of the Dockerfile."""
    stage: str
    """The stage's name in BuildKit: lower case; `stage-<index>` for an unnamed stage; empty if
    the Dockerfile has a single stage and neither COPY --from nor RUN --mount."""
    position: int | None
    """The number in BuildKit's `[stage position/total]` for RUN, COPY, ADD and WORKDIR; None for
    other instructions. FROM has no number, because base images are passed as named contexts, but
    the total includes it. RUN, COPY, ADD and WORKDIR in ONBUILD triggers of the base image are
    numbered before these. A WORKDIR that resolves to "/" through the base image or a variable
    gets no number; only BuildKit knows this, and the numbers of later steps are then one lower."""
    line: int
    """Line of the Dockerfile where the instruction starts, from 1."""
    text: str
    """The instruction on one line, as the user wrote it, at most 300 characters."""
    base: str = ""
    """For FROM with an image, its `Base.context`: BuildKit names that work `[context <base>] …`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An image that a needed stage starts from or copies from."""

    context: str
    """Replaces the image in the Dockerfile given to the engine: `slipway-base-<n>`."""
    reference: str
    """Fully qualified, such as `docker.io/library/python:3.12` or `host/name@sha256:…`."""
    platform: str
    """The requested platform, `os/arch[/variant]`; by default that of the build."""
    line: int
    """The first line of the Dockerfile that names it."""
    digest: str = ""
    """The digest that the reference currently resolves to, if it is known before the fetch."""
    private: bool = False
    """It is in Slipway's own registry and may be private to the build's owner: it is fetched
    with `BuildSpec.registry_token`, and must not be visible to builds of other owners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A Dockerfile as the engine gets it, with what was parsed from it."""

    text: str
    """The text as sent, but with `Base.context` in place of every image of a needed stage, and
    without a syntax directive. All other bytes and all line numbers are unchanged."""
    bases: tuple[Base, ...] = ()
    """Images that needed stages start or copy from, one entry per platform."""
    steps: tuple[Step, ...] = ()
    """Instructions of needed stages. Empty if BuildKit's parser will reject the text."""
    shared: Mapping[int, int]
    """Maps each step's number to the first step with the same instructions on the same base.
    BuildKit runs such steps once, under the name of one of them."""
    stages: tuple[str, ...] = ()
    """Names of all stages, in lower case."""
    written: Mapping[str, str]
    """Maps each `Base.context` to the text that it replaced."""

    def original(self, message: str) -> str:
        """Restore the images' names as the user wrote them in a message of the engine."""
        if not self.written:
            return message
        prefix = re.escape(next(iter(self.written)).rpartition("-")[0])
        name = rf"(?:docker\.io/library/)?({prefix}-[0-9]+)(?::latest)?"
        return re.sub(name, lambda found: self.written.get(found[1], found[0]), message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of one build. Startup reports those that the machine cannot enforce."""

    memory_bytes: int
    pids: int
    cpus: float
    disk_bytes: int
    cache_bytes: int = 0
    """Size of the owner's cache when it is created; 0 leaves it to the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSpec:
    """One attempt, complete: an engine must not need or read anything else."""

    build_id: UUID
    owner_id: UUID
    """Selects the layer cache, which is never shared between owners."""
    label: str
    """`owner/name:tag`, for process lists and logs."""
    context: Path
    """The unpacked build context, read-only."""
    dockerfile: Dockerfile
    registry_token: str = field(default="", repr=False)
    """Lets the owner pull private bases. Never passed into a build's sandbox."""
    build_args: tuple[tuple[str, str], ...]
    target: str = ""
    """The stage to build; empty for the last one."""
    no_cache: bool = False
    """Run every step, ignoring the cache."""
    pull: bool = False
    """Check every base with its registry, however fresh the local copy is."""
    labels: tuple[tuple[str, str], ...] = ()
    """Added to the image's config; they override those of the Dockerfile."""
    network: bool
    """Whether RUN and ADD may reach the internet (never a private address)."""
    limits: Limits
    work: Path
    """An empty folder for this attempt only. The caller removes it afterwards through `discard`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutcome:
    """A finished image, as an OCI layout with exactly one manifest."""

    layout: Path
    digest: str
    """`sha256:<64 hex>` of the manifest, the registry's Docker-Content-Digest."""
    size_bytes: int
    """Compressed layers and config together: the size of a pull."""
    bases: tuple[tuple[str, str], ...] = ()
    """Reference and digest of each base image."""
