"""Models of builds. They do not depend on the app `images`."""

from builds.models.builds import LONG, STATUSES, Build, BuildQuerySet, milliseconds, step_facts
from builds.models.chunks import LogChunk
from builds.models.incidents import Incident
from builds.models.queue import (
    Priority,
    QueueLine,
    QueueOwner,
    ResourceClass,
    ResourceClassGrant,
)
from builds.models.targets import Target, targets
from builds.models.unreferenced import UnreferencedFile
from builds.models.workers import Pause, Worker

__all__ = [
    "LONG",
    "STATUSES",
    "Build",
    "BuildQuerySet",
    "Incident",
    "LogChunk",
    "Pause",
    "Priority",
    "QueueLine",
    "QueueOwner",
    "ResourceClass",
    "ResourceClassGrant",
    "Target",
    "UnreferencedFile",
    "Worker",
    "milliseconds",
    "step_facts",
    "targets",
]
