"""Control groups of sandboxes, both v1 (one folder per controller) and v2 (one folder for all)."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helper.protocol import Limits

CONTROLLERS = ("memory", "pids", "cpu")
CPU_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """A folder in which this process may create groups, and its controllers."""

    base: Path
    controllers: frozenset[str]
    unified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counters of a group: processes killed for memory, forks refused; and its memory now."""

    oom_kill: int = 0
    pids_max: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGroup:
    """The groups of one sandbox, one per hierarchy. `name` is `<installation>/<number>`."""

    name: str
    hierarchies: tuple[Hierarchy, ...]

    @property
    def folders(self) -> list[Path]:
        return [hierarchy.base / self.name for hierarchy in self.hierarchies]

    def create(self) -> None:
        """Create the folders. Raises OSError."""
        for hierarchy, folder in zip(self.hierarchies, self.folders, strict=True):
            folder.parent.mkdir(exist_ok=True)
            if hierarchy.unified:
                _hand_down(folder.parent, hierarchy.controllers)
            folder.mkdir()

    def set_limits(self, limits: Limits) -> None:
        """Write the limits, as far as the controllers exist. Raises OSError."""
        for hierarchy, folder in zip(self.hierarchies, self.folders, strict=True):
            _write_limits(folder, hierarchy, limits)

    def pids(self) -> set[int]:
        found: set[int] = set()
        for folder in self.folders:
            with suppress(OSError):
                found.update(map(int, (folder / "cgroup.procs").read_text().split()))
        return found - {0}  # 0: processes outside of this pid namespace

    def kill(self) -> None:
        """Send SIGKILL to every process. It may fork meanwhile: repeat until `remove` succeeds."""
        for folder in self.folders:
            with suppress(OSError):
                (folder / "cgroup.kill").write_text("1")
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        """Remove the folders. Returns False while processes are left."""
        gone = True
        for folder in self.folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone

    def usage(self) -> Usage:
        """The current counters. Zeros for controllers that do not exist."""
        oom_kill = pids_max = memory_bytes = 0
        for hierarchy, folder in zip(self.hierarchies, self.folders, strict=True):
            new = hierarchy.unified
            if "memory" in hierarchy.controllers:
                events = folder / ("memory.events" if new else "memory.oom_control")
                current = folder / ("memory.current" if new else "memory.usage_in_bytes")
                oom_kill = _count(events, "oom_kill")
                with suppress(OSError, ValueError):
                    memory_bytes = int(current.read_text())
            if "pids" in hierarchy.controllers:
                pids_max = _count(folder / "pids.events", "max")
        return Usage(oom_kill=oom_kill, pids_max=pids_max, memory_bytes=memory_bytes)


def left_groups(installation: str, found: tuple[Hierarchy, ...]) -> list[ControlGroup]:
    """Groups that an earlier helper of this installation left."""
    names = {
        folder.name
        for hierarchy in found
        if (hierarchy.base / installation).is_dir()
        for folder in (hierarchy.base / installation).iterdir()
        if folder.is_dir()
    }
    return [ControlGroup(name=f"{installation}/{name}", hierarchies=found) for name in names]


def remove_installation(installation: str, found: tuple[Hierarchy, ...]) -> None:
    for hierarchy in found:
        with suppress(OSError):
            (hierarchy.base / installation).rmdir()


def find_hierarchies(
    mountinfo: Path = Path("/proc/self/mountinfo"), membership: Path = Path("/proc/self/cgroup")
) -> tuple[Hierarchy, ...]:
    """Hierarchies in which groups can be created, each controller once. Empty without the right."""
    own = dict(_memberships(membership.read_text()))
    found: list[Hierarchy] = []
    missing = set(CONTROLLERS)
    for kind, root, mount, options in _mounts(mountinfo.read_text()):
        names = missing & options if kind == "cgroup" else {""}
        path = next((own[name] for name in names if name in own), None)
        if path is None:
            continue
        base = mount / os.path.relpath(path, root) if path.startswith(root) else mount
        if kind == "cgroup":
            if os.access(base, os.W_OK):
                found.append(Hierarchy(base=base, controllers=frozenset(names), unified=False))
                missing -= names
        elif (hierarchy := _find_unified(mount, base, missing)) is not None:
            found.append(hierarchy)
            missing -= hierarchy.controllers
    return tuple(found)


def _mounts(mountinfo: str) -> Iterator[tuple[str, str, Path, set[str]]]:
    for line in mountinfo.splitlines():
        fields = line.split()
        dash = fields.index("-")
        if fields[dash + 1] in {"cgroup", "cgroup2"}:
            yield fields[dash + 1], fields[3], Path(fields[4]), set(fields[dash + 3].split(","))


def _memberships(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            yield name, path


def _find_unified(mount: Path, own: Path, missing: set[str]) -> Hierarchy | None:
    # A group with processes cannot delegate controllers: use the nearest ancestor that can.
    for base in [own, *own.parents]:
        if not base.is_relative_to(mount):
            break
        with suppress(OSError):
            offered = missing & set((base / "cgroup.controllers").read_text().split())
            if offered and os.access(base, os.W_OK) and _hand_down(base, frozenset(offered)):
                return Hierarchy(base=base, controllers=frozenset(offered), unified=True)
    return None


def _hand_down(folder: Path, controllers: frozenset[str]) -> bool:
    file = folder / "cgroup.subtree_control"
    with suppress(OSError):
        if not controllers <= set(file.read_text().split()):
            file.write_text(" ".join(f"+{name}" for name in sorted(controllers)))
        return True
    return False


def _write_limits(folder: Path, hierarchy: Hierarchy, limits: Limits) -> None:
    quota = max(1_000, int(limits.cpus * CPU_PERIOD_US))
    memory = str(limits.memory_bytes)
    if "memory" in hierarchy.controllers and hierarchy.unified:
        (folder / "memory.max").write_text(memory)
        _write_existing(folder / "memory.swap.max", "0")
    elif "memory" in hierarchy.controllers:
        # memory.memsw must never be below memory.limit: raise it first, lower it last.
        _write_existing(folder / "memory.memsw.limit_in_bytes", "-1")
        (folder / "memory.limit_in_bytes").write_text(memory)
        _write_existing(folder / "memory.memsw.limit_in_bytes", memory)
    if "pids" in hierarchy.controllers:
        (folder / "pids.max").write_text(str(limits.pids))
    if "cpu" in hierarchy.controllers and hierarchy.unified:
        (folder / "cpu.max").write_text(f"{quota} {CPU_PERIOD_US}")
    elif "cpu" in hierarchy.controllers:
        (folder / "cpu.cfs_quota_us").write_text(str(quota))


def _write_existing(file: Path, value: str) -> None:
    if file.exists():  # only if the kernel accounts for swap
        file.write_text(value)


def _count(file: Path, key: str) -> int:
    with suppress(OSError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    return 0
