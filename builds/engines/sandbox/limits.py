"""Holds a build to its limits with a control group that it cannot see, made by root.

Both generations of control groups are spoken: one folder per controller (v1) or one for all (v2).
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from builds.build_spec import Limits
from builds.process import end_processes

CONTROLLERS = ("memory", "pids", "cpu")
CPU_PERIOD_US = 100_000
REMOVE_SECONDS = 5.0

Controller = Literal["memory", "pids", "cpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """Where this process may make groups for some controllers."""

    base: Path
    controllers: frozenset[str]
    unified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGroup:
    """One build's groups, one folder a hierarchy."""

    name: str
    """`<instance>/<build>`."""
    hierarchies: tuple[Hierarchy, ...]

    @property
    def folders(self) -> list[Path]:
        return [hierarchy.base / self.name for hierarchy in self.hierarchies]

    def create(self, limits: Limits) -> None:
        """Make the groups and set their limits."""
        for hierarchy, folder in zip(self.hierarchies, self.folders, strict=True):
            _make(folder, hierarchy)
            for file, value in _values(hierarchy, limits):
                (folder / file).write_text(value)

    def pids(self) -> list[int]:
        found: set[int] = set()
        for folder in self.folders:
            with suppress(FileNotFoundError):
                found.update(map(int, (folder / "cgroup.procs").read_text().split()))
        return sorted(found)

    def kill(self) -> None:
        """End every process of the build. Raises ProcessError when one will not."""
        for folder in self.folders:
            with suppress(OSError):
                (folder / "cgroup.kill").write_text("1")
        end_processes(self.pids)

    def remove(self) -> None:
        """Kill what is left, then remove the folders."""
        self.kill()
        until = time.monotonic() + REMOVE_SECONDS
        for folder in self.folders:
            while True:
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:  # busy for a moment after its last process went
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.002)
                else:
                    break
            with suppress(OSError):  # not empty: another build runs
                folder.parent.rmdir()

    def hit(self) -> Controller | None:
        """Which limit this build ran into, memory before pids."""
        for hierarchy, folder in zip(self.hierarchies, self.folders, strict=True):
            if "memory" in hierarchy.controllers and _count(
                folder / ("memory.events" if hierarchy.unified else "memory.oom_control"),
                "oom_kill",
            ):
                return "memory"
        for hierarchy, folder in zip(self.hierarchies, self.folders, strict=True):
            if "pids" in hierarchy.controllers and _count(folder / "pids.events", "max"):
                return "pids"
        return None


def hierarchies(
    mountinfo: Path = Path("/proc/self/mountinfo"), membership: Path = Path("/proc/self/cgroup")
) -> tuple[Hierarchy, ...]:
    """Where groups can be made, each controller once. Empty without the right to make any."""
    own = dict(_memberships(membership.read_text()))
    found: list[Hierarchy] = []
    missing = set(CONTROLLERS)
    for line in mountinfo.read_text().splitlines():
        fields = line.split()
        dash = fields.index("-")
        kind, options = fields[dash + 1], set(fields[dash + 3].split(","))
        if kind not in {"cgroup", "cgroup2"}:
            continue
        names = missing & options if kind == "cgroup" else {""}
        path = next((own[name] for name in names if name in own), None)
        if path is None:
            continue
        mount = Path(fields[4])
        base = mount / os.path.relpath(path, fields[3]) if path.startswith(fields[3]) else mount
        if kind == "cgroup":
            if os.access(base, os.W_OK):
                found.append(Hierarchy(base=base, controllers=frozenset(names), unified=False))
                missing -= names
        elif (hierarchy := _unified(mount, base, missing)) is not None:
            found.append(hierarchy)
            missing -= hierarchy.controllers
    return tuple(found)


def unheld(found: tuple[Hierarchy, ...]) -> list[str]:
    """The controllers that no group can be made for."""
    held = {name for hierarchy in found for name in hierarchy.controllers}
    return [name for name in CONTROLLERS if name not in held]


def _memberships(text: str) -> list[tuple[str, str]]:
    rows = [line.split(":", 2) for line in text.splitlines()]
    return [(name, path) for _, names, path in rows for name in names.split(",")]


def _unified(mount: Path, own: Path, missing: set[str]) -> Hierarchy | None:
    # A group that holds processes cannot hand controllers down, so the nearest one above that can.
    for base in [own, *own.parents]:
        if not base.is_relative_to(mount):
            break
        with suppress(OSError):
            offered = missing & set((base / "cgroup.controllers").read_text().split())
            if offered and os.access(base, os.W_OK) and _hand_down(base, offered):
                return Hierarchy(base=base, controllers=frozenset(offered), unified=True)
    return None


def _hand_down(folder: Path, controllers: set[str] | frozenset[str]) -> bool:
    file = folder / "cgroup.subtree_control"
    with suppress(OSError):
        if not controllers <= set(file.read_text().split()):
            file.write_text(" ".join(f"+{name}" for name in sorted(controllers)))
        return True
    return False


def _make(folder: Path, hierarchy: Hierarchy) -> None:
    for last in (False, False, True):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            if hierarchy.unified:
                _hand_down(folder.parent, hierarchy.controllers)
            folder.mkdir(exist_ok=True)
        except FileNotFoundError:  # another build, the last one there, took the parent away
            if last:
                raise
        else:
            return


def _values(hierarchy: Hierarchy, limits: Limits) -> list[tuple[str, str]]:
    quota = str(max(1_000, int(limits.cpus * CPU_PERIOD_US)))
    new = hierarchy.unified
    values = {
        "memory": ("memory.max" if new else "memory.limit_in_bytes", str(limits.memory_bytes)),
        "pids": ("pids.max", str(limits.pids)),
        "cpu": ("cpu.max", f"{quota} {CPU_PERIOD_US}") if new else ("cpu.cfs_quota_us", quota),
    }
    return [values[name] for name in CONTROLLERS if name in hierarchy.controllers]


def _count(file: Path, key: str) -> int:
    with suppress(OSError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    return 0
