"""Resource classes: the limits of builds, and who may use which class."""

from dataclasses import dataclass, replace
from uuid import UUID

from builds.build_spec import DEFAULT_CLASS, Limits
from builds.conf import build_settings
from builds.models import ResourceClass
from builds.models.queue import ResourceClassQuerySet

MIB = 1024 * 1024


class ClassRefused(ValueError):
    """No such class, or the owner may not use it. The message lists the allowed classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Limits of builds in a resource class."""

    name: str
    limits: Limits
    deadline_seconds: int

    @property
    def text(self) -> str:
        """For display: `2 processors, 4096 MiB memory, 20480 MiB disk, 3600 s`."""
        limits = self.limits
        processors = "1 processor" if limits.cpus == 1 else f"{limits.cpus:g} processors"
        memory, disk = limits.memory_bytes // MIB, limits.disk_bytes // MIB
        return f"{processors}, {memory} MiB memory, {disk} MiB disk, {self.deadline_seconds} s"


def size_of(name: str) -> Size:
    """Current size of a class. A class that was deleted has the size of the default class."""
    found = None if name == DEFAULT_CLASS else ResourceClass.objects.filter(pk=name).first()
    return settings_size() if found is None else _of_row(found)


def sizes_for(owner_id: UUID) -> list[Size]:
    """The classes that an owner may choose from, including the default class."""
    return [settings_size(), *map(_of_row, ResourceClass.objects.allowed_to(owner_id))]


def choose(owner_id: UUID, name: str) -> str:
    """The class of a new build; the default if `name` is empty. Raises ClassRefused."""
    if name == DEFAULT_CLASS:
        return name
    if not name:
        return default_of(owner_id).values_list("pk", flat=True).first() or DEFAULT_CLASS
    if not ResourceClass.objects.allowed_to(owner_id).filter(pk=name).exists():
        names = ", ".join(each.name for each in sizes_for(owner_id))
        raise ClassRefused(f"is no resource class that you may use; there is {names}")
    return name


def default_of(owner_id: UUID) -> ResourceClassQuerySet:
    """The row of the class of builds that name none; without one it is that of the settings."""
    return ResourceClass.objects.allowed_to(owner_id).filter(is_default=True)


def settings_size() -> Size:
    """The class `default`, from the settings."""
    settings = build_settings()
    return Size(
        name=DEFAULT_CLASS, limits=settings.limits, deadline_seconds=settings.deadline_seconds
    )


def _of_row(row: ResourceClass) -> Size:
    disk = row.disk_mb * MIB
    limits = replace(
        build_settings().limits,
        memory_bytes=row.memory_mb * MIB,
        cpus=row.cpus,
        disk_bytes=disk,
        cache_bytes=disk,
    )
    return Size(name=row.name, limits=limits, deadline_seconds=row.deadline)
