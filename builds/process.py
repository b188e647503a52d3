"""Starts, reads and ends child processes for the whole code base.

A child dies with Slipway, even after kill -9. It leads its own session, so that all its descendants
can be killed with it.
"""

import os
import pwd
import selectors
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from builds import spawner
from builds.build_spec import Output, Stream

CLEAN_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}
# Slipway may have died before the child asked for the parent-death signal.
ORPHANS_END = ("sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')
READ_BYTES = 65_536
END_SECONDS = 10.0
STAT_BYTES = 4_096
"""More than the size of /proc/<pid>/stat."""


class ProcessError(Exception):
    """A child could not be started, did not end in time, or ended with an error."""


class Child:
    """A running child and its descendants. Leaving the `with` block kills and reaps them."""

    def __init__(self, popen: spawner.Started, name: str) -> None:
        self.pid = popen.pid
        self.name = name
        self._popen = popen
        self._pidfd = os.pidfd_open(popen.pid)
        self._ending = threading.Lock()
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.kill()
        os.close(self._pidfd)
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; the negative signal number if a signal ended it."""
        return self._popen.returncode

    def read(self, tick: float = 0.25) -> Generator[Output, None, int]:
        """Yield output of the child until it ends; return its exit code.

        Yields `(stream, b"")` at least every `tick` seconds. Nothing is read ahead, so a slow
        reader slows the child down. Ends with the child, even if other processes still hold its
        pipes.
        """
        with selectors.DefaultSelector() as selector:
            streams: list[tuple[Stream, IO[bytes] | None]] = [
                ("stdout", self._popen.stdout),
                ("stderr", self._popen.stderr),
            ]
            for stream, pipe in streams:
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    selector.register(pipe, selectors.EVENT_READ, stream)
            selector.register(self._pidfd, selectors.EVENT_READ)
            ended = False
            ticked = time.monotonic()
            while not ended:
                ready = selector.select(max(0.0, ticked + tick - time.monotonic()))
                for key, _ in ready:
                    if key.fd == self._pidfd:
                        ended = True
                    elif data := _read(key.fd):
                        yield key.data, data
                    else:
                        selector.unregister(key.fileobj)
                if time.monotonic() - ticked >= tick:
                    ticked = time.monotonic()
                    yield "stdout", b""
            self._end_session()
            # One read takes all that a pipe can hold. A process that left the session may write
            # more.
            for stream, pipe in streams:
                if pipe is not None and (data := _read(pipe.fileno())):
                    yield stream, data
        return self.kill()

    def stop(self, grace: float) -> int:
        """Send SIGTERM, wait `grace` seconds, then kill the session. Returns the exit code."""
        with self._ending:
            if self._popen.returncode is None:
                self._popen.send_signal(signal.SIGTERM)
                with selectors.DefaultSelector() as selector:
                    selector.register(self._pidfd, selectors.EVENT_READ)
                    selector.select(grace)
        return self.kill()

    def kill(self) -> int:
        """Kill the whole session and reap the child. Idempotent and thread-safe. Returns the
        exit code."""
        with self._ending:
            if self._popen.returncode is None:
                self._end_session()
                self._popen.wait(END_SECONDS)
            return self._popen.returncode

    def _end_session(self) -> None:
        if self._is_over:
            return
        # The leader is not reaped yet, so its pid cannot have been reused.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        end_processes(lambda: session_members(self.pid))
        # Only members of the session can start new members.
        self._is_over = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Result of a short command."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def start(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] = CLEAN_ENV,
    cwd: Path | None = None,
    user: str | None = None,
    pass_fds: Collection[int] = (),
    log: Path | None = None,
) -> Child:
    """Start a child that dies with Slipway. `user` runs it as that user (needs root).

    The environment is `env` and PWD. Read its output from the Child, unless it is appended to
    `log`. Raises ProcessError if the program does not exist or cannot be started.
    """
    name = Path(argv[0]).name
    program = shutil.which(argv[0], path=env.get("PATH", ""))
    if program is None:
        raise ProcessError(f"{name} is not installed, or not where PATH leads")
    identity: list[str] = []
    if user is not None:
        group = pwd.getpwnam(user).pw_gid
        identity = [f"--reuid={user}", f"--regid={group}", "--init-groups"]
    # The kernel clears the parent-death signal when the user changes, so setpriv sets it last.
    command = ["setpriv", *identity, "--pdeathsig=KILL", "--", *ORPHANS_END, str(os.getpid())]
    command += [program, *map(str, argv[1:])]
    output: IO[bytes] | int = log.open("ab") if log else spawner.PIPE
    try:
        popen = spawner.start(command, env=dict(env), cwd=cwd, pass_fds=pass_fds, output=output)
    except OSError as error:
        raise ProcessError(f"{name} could not be started: {error}") from error
    finally:
        if not isinstance(output, int):
            output.close()
    return Child(popen, name)


def run(
    argv: Sequence[str | Path],
    *,
    deadline: float,
    check: bool = True,
    env: Mapping[str, str] = CLEAN_ENV,
    cwd: Path | None = None,
    user: str | None = None,
    pass_fds: Collection[int] = (),
    output_limit: int = 1_048_576,
) -> Finished:
    """Run a short command to its end. `deadline` in seconds, `output_limit` in bytes per stream.

    Raises ProcessError with the name of the command if it cannot start, exceeds the deadline or the
    output limit, or (with `check`) has an exit code other than 0.
    """
    until = time.monotonic() + deadline
    kept: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    with start(argv, env=env, cwd=cwd, user=user, pass_fds=pass_fds) as child:
        reading = child.read(min(0.25, deadline))
        try:
            while True:
                stream, data = next(reading)
                kept[stream] += data
                if len(kept[stream]) > output_limit:
                    raise ProcessError(f"{child.name} wrote more than {output_limit} bytes")
                if time.monotonic() > until:
                    raise ProcessError(f"{child.name} did not end within {deadline:g} seconds")
        except StopIteration as end:
            exit_code = int(end.value)
    if check and exit_code:
        said = kept["stderr"].decode(errors="replace").strip().splitlines()
        reason = f": {said[-1][:500]}" if said else ""
        raise ProcessError(f"{child.name} ended with exit code {exit_code}{reason}")
    return Finished(exit_code=exit_code, stdout=bytes(kept["stdout"]), stderr=bytes(kept["stderr"]))


def session_members(session: int) -> list[int]:
    """Pids of the running processes in a session, without zombies."""
    return [pid for pid, fields in _stats() if int(fields[3]) == session and fields[0] != "Z"]


def start_time(pid: int) -> int | None:
    """Start time of a process in kernel ticks, or None. With the pid it identifies a process
    uniquely."""
    try:
        return int(_fields(Path(f"/proc/{pid}/stat").read_text())[19])
    except (OSError, IndexError):
        return None


def end_processes(find: Callable[[], Collection[int]], *, within: float = END_SECONDS) -> None:
    """Kill the processes that `find` returns until it returns none. Raises ProcessError after
    `within` seconds."""
    until = time.monotonic() + within
    while pids := find():
        for pid in pids:
            # Processes in a namespace may run as other users; they die with its first process.
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            raise ProcessError(f"processes {sorted(pids)} outlived being killed")
        time.sleep(0.002)


def _stats() -> Iterator[tuple[int, list[str]]]:
    for name in os.listdir("/proc"):  # noqa: PTH208  (called often, for many processes)
        if name.isdigit():
            with suppress(OSError):
                fd = os.open(f"/proc/{name}/stat", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    yield int(name), _fields(os.read(fd, STAT_BYTES).decode(errors="replace"))
                finally:
                    os.close(fd)


def _fields(stat: str) -> list[str]:
    # The second field, the command's name, may contain any character, even brackets and blanks.
    return stat.rpartition(") ")[2].split()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, READ_BYTES)
    except BlockingIOError:
        return b""
