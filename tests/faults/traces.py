"""What a Slipway leaves behind: processes, mounts, loop devices, control groups, folders."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helper.folders import installation
from helper.id_ranges import FIRST, SIZE

WORK_FOLDERS = (
    "builds",
    "engine/builders",
    "engine/base-images/shared/downloads",
)
"""Folders that are empty when no build runs and no builder is kept."""


@dataclass(frozen=True)
class Process:
    pid: int
    command: str
    """Words of the command line, each ended by a blank."""

    @property
    def name(self) -> str:
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/comm").read_text().strip()
        return ""


@dataclass(frozen=True)
class Traces:
    """Of one data directory."""

    data_dir: Path

    def processes(self) -> list[Process]:
        """Told by their paths, their control group, or the ids of the owners' builders."""
        return [each for each in _processes() if self._is_ours(each)]

    def descendants(self, pid: int) -> list[Process]:
        """Processes that a process has started, and those that they have."""
        parents: dict[int, int] = {}
        found = list(_processes())
        for each in found:
            with suppress(OSError):
                fields = Path(f"/proc/{each.pid}/stat").read_text().rpartition(")")[2].split()
                parents[each.pid] = int(fields[1])
        family = {pid}
        while more := {each for each, parent in parents.items() if parent in family} - family:
            family |= more
        return [each for each in found if each.pid in family - {pid}]

    def of_instance(self, pid: int) -> list[Process]:
        """All that runs for it: told by its folder and ids, or started by the process `pid`."""
        found = {each.pid: each for each in [*self.processes(), *self.descendants(pid)]}
        return list(found.values())

    def mounts(self) -> list[str]:
        """In whatever mount namespace, of the cache images and other folders of the helper."""
        found = set()
        for file in Path("/proc").glob("[0-9]*/mountinfo"):
            with suppress(OSError):
                lines = file.read_text().splitlines()
                found |= {line for line in lines if f"{self.data_dir}/helper" in line}
        return sorted(found)

    def loops(self) -> list[str]:
        files = Path("/sys/block").glob("loop*/loop/backing_file")
        found = []
        for file in files:
            with suppress(OSError):
                found.append(file.read_text().strip())
        return [file for file in found if str(self.data_dir) in file]

    def groups(self) -> list[str]:
        own = installation(self.data_dir.stat())
        found = []
        for folder, names, _ in os.walk("/sys/fs/cgroup"):
            if Path(folder).name == own:
                found += [f"{folder}/{name}" for name in names]
        return found

    def folders(self) -> list[str]:
        """What lies in the folders of builds; those of processes that run do not count."""
        found: list[Path] = []
        for name in WORK_FOLDERS:
            folder = self.data_dir / name
            found += folder.iterdir() if folder.is_dir() else []
        return [str(path) for path in found if any(path.iterdir())]

    def all(self) -> list[str]:
        """Everything but folders, which the next start empties."""
        return [
            *(f"process {each.pid} {each.command[:200]}" for each in self.processes()),
            *(f"mount {each}" for each in self.mounts()),
            *(f"loop device of {each}" for each in self.loops()),
        ]

    def wait_until_gone(self, seconds: float = 30.0) -> float:
        """Returns the seconds that it took until nothing ran, was mounted or attached."""
        began = time.monotonic()
        while left := self.all():
            assert time.monotonic() - began < seconds, left
            time.sleep(0.05)
        return time.monotonic() - began

    def _is_ours(self, process: Process) -> bool:
        if str(self.data_dir) in process.command:
            return True
        with suppress(OSError):
            return Path(f"/proc/{process.pid}").stat().st_uid in self._ids()
        return False

    def _ids(self) -> "_Ranges":
        with suppress(OSError, ValueError):
            indexes = json.loads((self.data_dir / "helper/ids.json").read_text()).values()
            return _Ranges([FIRST + index * SIZE for index in indexes])
        return _Ranges([])


@dataclass(frozen=True)
class _Ranges:
    starts: list[int]

    def __contains__(self, number: int) -> bool:
        return any(start <= number < start + SIZE for start in self.starts)


def _processes() -> Iterator[Process]:
    """All that run; zombies do not."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            if command and int(folder.name) != os.getpid():
                yield Process(int(folder.name), command)
