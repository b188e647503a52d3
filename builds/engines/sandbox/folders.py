"""The folders of an engine: who owns them, and how they go although other ids wrote in them."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from builds.engines.base import EngineBroken
from builds.engines.sandbox.wall import NEST, Account
from builds.process import ProcessError, run, session_members, start_time
from builds.process import end_processes as end

REMOVE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What the next start must know of an attempt to clean up after it."""

    build_id: UUID
    owner_id: UUID
    work: Path
    pid: int | None = None
    started: int | None = None

    def end_processes(self) -> None:
        """Kill the attempt's session, if that process is still the one that was started."""
        if self.pid is not None and start_time(self.pid) == self.started is not None:
            pid = self.pid
            end(lambda: session_members(pid))


class Folders:
    """Everything that an engine keeps below its root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stores = root / "stores"
        self.bases = root / "bases"
        self.etc = root / "etc"
        self._traces = root / "attempts"

    def owner(self, owner_id: UUID) -> Path:
        return self.stores / str(owner_id)

    def owned_bases(self, owner_id: UUID | str) -> Path:
        """Beside the owner's store and not in it: builds may only read what is fetched for them."""
        return self.root / "owned-bases" / str(owner_id)

    def checked(self, owner_id: UUID | None = None) -> Path:
        """Notes on which bases are in a store: the owner's, or the one that all share."""
        return self.root / "checked" / str(owner_id or "shared")

    def create(self, account: Account, paths: Iterable[Path]) -> None:
        """Make folders that belong to the build user and nobody else looks into."""
        for path in paths:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if account.change and path.stat().st_uid != account.uid:
                os.chown(path, account.uid, account.gid)

    def hand_over(self, account: Account, tree: Path) -> None:
        """Make a tree that root unpacked readable for the build user, links left alone."""
        if not account.change:
            return
        os.chown(tree, account.uid, account.gid)
        for folder, folders, files, fd in os.fwalk(tree):
            del folder
            for name in (*folders, *files):
                os.chown(name, account.uid, account.gid, dir_fd=fd, follow_symlinks=False)

    def remove(self, account: Account, path: Path) -> None:
        """Remove a tree that holds files of subordinate ids; nothing to do when it is gone."""
        if not os.path.lexists(path):
            return
        # Root needs no namespace for it; anyone else must be root of one with those ids.
        inside = () if account.change else NEST
        try:
            run([*inside, "rm", "-rf", "--one-file-system", "--", path], deadline=REMOVE_SECONDS)
        except ProcessError as error:
            raise EngineBroken(f"{path} could not be removed: {error}", code="remove") from error

    def remember(self, trace: Trace) -> None:
        self._traces.mkdir(parents=True, exist_ok=True)
        file = self._traces / str(trace.build_id)
        new = file.with_name(f".{trace.build_id}")
        new.write_text(json.dumps([str(trace.owner_id), str(trace.work), trace.pid, trace.started]))
        new.replace(file)

    def forget(self, build_id: UUID) -> None:
        (self._traces / str(build_id)).unlink(missing_ok=True)

    def traces(self) -> list[Trace]:
        found = []
        for file in sorted(self._traces.glob("[0-9a-f]*")):
            owner_id, work, pid, started = json.loads(file.read_text())
            trace = Trace(
                build_id=UUID(file.name),
                owner_id=UUID(owner_id),
                work=Path(work),
                pid=pid,
                started=started,
            )
            found.append(trace)
        return found
