"""What an engine knows of a build: a frozen spec in, events while it runs, a frozen outcome out.

No Django here.
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
"""Raw bytes as a child process wrote them. `(stream, b"")` is a tick: nothing new, still alive."""
DEFAULT_CLASS = "default"
"""The resource class that the settings describe."""
RESOURCE_CLASS = r"\A[a-z0-9]+(-[a-z0-9]+)*\Z"
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
    """What BuildKit calls the stage: its name in lower case, `stage-<index>` for one without a
    name, and empty where the Dockerfile has a single stage and neither COPY --from nor
    RUN --mount."""
    position: int | None
    """The number in BuildKit's `[stage position/total]` for RUN, COPY, ADD and WORKDIR; None for
    the others. FROM has no number, because images come as named contexts, though the total counts
    it. Each RUN, COPY, ADD and WORKDIR among the ONBUILD triggers of the stage's image takes a
    number before these. A WORKDIR that the image or a variable makes "/" has no number after all,
    which only BuildKit knows: those after it are one less."""
    line: int
    """Where the instruction starts in the Dockerfile, from 1."""
    text: str
    """The instruction in one line, as the user wrote it, at most 300 characters."""
    base: str = ""
    """For FROM of an image, its `Base.context`: BuildKit names that work `[context <base>] …`."""


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
    digest: str = ""
    """What the reference means now, where that is known before the fetch."""
    private: bool = False
    """It stands in Slipway's own registry and may be private to the build's owner: it is fetched
    with `BuildSpec.registry_token`, and other owners' builds must not find it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A Dockerfile as the engine gets it, and what had to be known of it before."""

    text: str
    """What was sent, with a name of ours (`Base.context`) for every image of a needed stage and
    without a syntax directive. All other bytes and the numbers of lines are the same."""
    bases: tuple[Base, ...] = ()
    """The images that needed stages start or copy from, once for each platform."""
    steps: tuple[Step, ...] = ()
    """The instructions of needed stages. Empty where BuildKit's parser will refuse the text."""
    shared: Mapping[int, int]
    """For every step's number the first step with the same instructions on the same base. BuildKit
    runs such steps once, under the name of one of them."""
    stages: tuple[str, ...] = ()
    """The names of all stages, in lower case."""
    written: Mapping[str, str]
    """For every `Base.context` what stood in its place."""

    def original(self, message: str) -> str:
        """An engine's message, with the images' names as the user wrote them."""
        if not self.written:
            return message
        prefix = re.escape(next(iter(self.written)).rpartition("-")[0])
        name = rf"(?:docker\.io/library/)?({prefix}-[0-9]+)(?::latest)?"
        return re.sub(name, lambda found: self.written.get(found[1], found[0]), message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The outer limits of one build. Held where the machine allows it; start-up says where not."""

    memory_bytes: int
    pids: int
    cpus: float
    disk_bytes: int
    cache_bytes: int = 0
    """Of the owner's cache where it is made new; 0 leaves it to the engine."""


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
    dockerfile: Dockerfile
    registry_token: str = field(default="", repr=False)
    """Lets the owner pull the private bases. Never shown to a sandbox of a build."""
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
    bases: tuple[tuple[str, str], ...] = ()
    """Reference and digest of each image that it was built from."""
