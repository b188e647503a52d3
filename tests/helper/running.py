"""Starts helpers and builders, builds through them, and finds what they leave behind."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from builds.build_spec import Limits
from builds.engines.sandbox.helper import Builder, Helper
from helper.control_groups import find_hierarchies
from helper.start import MAIN
from tests.engine_root import VARIABLE

CHECKOUT = Path(__file__).resolve().parents[2]
ENGINE_ROOT = Path(os.environ[VARIABLE]).resolve()
OWNER = UUID("00000000-0000-4000-8000-00000000000a")
STRANGER = UUID("00000000-0000-4000-8000-00000000000b")
SYSTEM_PYTHON = "/usr/bin/python3"
PLAIN_USER, PLAIN_ID, SUBORDINATE_ID = "slipway-plain", 61_233, 0x6000_0000
ROOMY = Limits(memory_bytes=2 << 30, pids=1000, cpus=2.0, disk_bytes=1 << 30)
CACHE_BYTES = 1 << 30
NO_LOOP_DEVICES = (
    *("unshare", "--mount", "--", "bash", "-c"),
    *('mount --bind /dev/null /dev/loop-control && exec "$@"', "bash"),
)
BUILDX = "/usr/libexec/docker/cli-plugins/docker-buildx"
WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class RunningHelper:
    """A helper process and the client that talks to it."""

    data_dir: Path
    process: "subprocess.Popen[bytes]"
    lifeline: int
    client: Helper

    @property
    def socket(self) -> Path:
        return self.data_dir / "run/helper.sock"

    @property
    def caches(self) -> Path:
        return self.data_dir / "helper"


@dataclass(frozen=True)
class RunningBuilder:
    handle: Builder
    folder: Path
    """The worker's own: dockerd's socket, its log, and the output of builds."""

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def wait_until_up(self) -> None:
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(WAIT_SECONDS)
            end.connect(str(self.socket))
            end.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            assert end.recv(64).startswith(b"HTTP/1.0 200"), self.log

    def processes(self) -> dict[str, int]:
        """Host pids by name, of everything in the builder's session."""
        return {name_of(pid): pid for pid in session(self.handle.pid)}

    def inside(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command as the sandbox's own root, free of the filters that RUN has.

        This is what a build could do at most, after a fault of dockerd.
        """
        pid = str(self.processes()["dockerd"])
        enter = ["nsenter", "--target", pid, "--user", "--mount", "--pid", "--net", "--ipc"]
        argv = [*enter, "--setuid", "0", "--setgid", "0", "--", *command]
        return subprocess.run(argv, capture_output=True, text=True, check=check, timeout=60)

    def build(self, dockerfile: str, *, context: Path | None = None, wait: bool = True) -> "Build":
        """Build with the buildx of the engine root, which sees the socket and the context only."""
        folder = Path(context or self.folder / "context")
        folder.mkdir(exist_ok=True)
        (self.folder / "Dockerfile").write_text(dockerfile)
        argv = [
            *("bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", str(ENGINE_ROOT), "/"),
            *("--tmpfs", "/tmp", "--tmpfs", "/run", "--proc", "/proc", "--dev", "/dev"),
            *("--bind", str(self.folder), "/tmp/worker", "--ro-bind", str(folder), "/tmp/context"),
            *("--clearenv", "--setenv", "PATH", "/usr/bin:/usr/sbin", "--setenv", "HOME", "/tmp"),
            *("--setenv", "DOCKER_HOST", "unix:///tmp/worker/docker.sock"),
            *(BUILDX, "build", "--network=host", "--allow", "network.host", "--progress=plain"),
            *("--provenance=false", "--output", "type=oci,tar=false,dest=/tmp/worker/output"),
            *("--file", "/tmp/worker/Dockerfile", "/tmp/context"),
        ]
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        build = Build(process)
        if wait:
            build.wait()
        return build


class Build:
    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.output = ""

    def wait(self) -> None:
        data, _ = self.process.communicate(timeout=100)
        self.output += data.decode(errors="replace")

    @property
    def succeeded(self) -> bool:
        return self.process.returncode == 0

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.output:
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, self.output
            self.output += data.decode(errors="replace")

    def lines(self, prefix: str) -> list[str]:
        """What RUN printed, of lines that begin with `prefix`."""
        words = [line.split(" ", 2)[-1] for line in self.output.splitlines()]
        return [word for word in words if word.startswith(prefix)]


@contextmanager
def running_helper(
    data_dir: Path,
    *,
    prefix: Sequence[str] = (),
    service: int | None = None,
    python: str = sys.executable,
    engine_root: Path = ENGINE_ROOT,
    tied: bool = True,
) -> Iterator[RunningHelper]:
    """A helper as `helper.start` starts it, behind a command of the test's.

    Without `tied`, as a service of its own.
    """
    data_dir.mkdir(exist_ok=True)
    lifeline_read, lifeline = os.pipe()
    ready, ready_write = os.pipe()
    argv = [*prefix, python, "-I", "-S", str(MAIN), "--data-dir", str(data_dir)]
    argv += ["--engine-root", str(engine_root)]
    argv += ["--lifeline", str(lifeline_read)] if tied else []
    argv += ["--ready", str(ready_write)]
    if service is not None:
        argv += ["--service-uid", str(service), "--service-gid", str(service)]
    fds = (lifeline_read, ready_write)
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, pass_fds=fds, start_new_session=True, cwd="/"
    )
    for fd in fds:
        os.close(fd)
    with os.fdopen(ready, "rb") as file:
        assert file.read(1), f"the helper ended with {process.wait()}"
    client = Helper(data_dir / "run/helper.sock")
    running = RunningHelper(data_dir, process, lifeline, client)
    try:
        yield running
    finally:
        with suppress(OSError):
            os.close(lifeline)
        if not tied:
            process.terminate()
        process.wait(WAIT_SECONDS)


def as_plain_user(data_dir: Path, engine_root: Path) -> list[str]:
    """A prefix for commands of an ordinary user with subordinate ids, who owns the data directory.

    Only what the prefix starts knows the user, and sees the engine root at a path that the user
    can reach.
    """
    etc = data_dir.parent / "etc"
    for folder in (data_dir, engine_root, etc):
        folder.mkdir(exist_ok=True)
    os.chown(data_dir, PLAIN_ID, PLAIN_ID)
    entries = {
        "passwd": f"{PLAIN_USER}:x:{PLAIN_ID}:{PLAIN_ID}::/:/bin/sh\n",
        "group": f"{PLAIN_USER}:x:{PLAIN_ID}:\n",
        "subuid": f"{PLAIN_USER}:{SUBORDINATE_ID}:65536\n",
        "subgid": f"{PLAIN_USER}:{SUBORDINATE_ID}:65536\n",
    }
    mounts = [f"mount --bind {ENGINE_ROOT} {engine_root}"]
    for name, entry in entries.items():
        (etc / name).write_text(Path("/etc", name).read_text() + entry)
        (etc / name).chmod(0o644)
        mounts.append(f"mount --bind {etc / name} /etc/{name}")
    ids = ["--reuid", str(PLAIN_ID), "--regid", str(PLAIN_ID), "--clear-groups"]
    show = " && ".join([*mounts, 'exec "$@"'])
    return ["unshare", "--mount", "--", "bash", "-c", show, "bash", "setpriv", *ids, "--"]


@contextmanager
def running_builder(
    helper: RunningHelper,
    folder: Path,
    *,
    owner: UUID = OWNER,
    slot: int = 0,
    limits: Limits = ROOMY,
    cache_bytes: int = CACHE_BYTES,
    network: bool = False,
    deny: Sequence[str] = (),
) -> Iterator[RunningBuilder]:
    folder.mkdir(exist_ok=True)
    path = folder / "docker.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener, (folder / "log").open("wb") as log:
        listener.bind(str(path))
        listener.listen(16)
        handle = helper.client.start_builder(
            owner,
            listener=listener.fileno(),
            log=log.fileno(),
            limits=limits,
            cache_bytes=cache_bytes,
            network=network,
            deny=deny,
            slot=slot,
        )
    with handle:
        running = RunningBuilder(handle, folder)
        running.wait_until_up()
        yield running


def session(leader: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_bytes().rpartition(b")")[2].split()[3]) == leader:
                found.append(int(path.parent.name))
    return found


def name_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def loop_files() -> list[str]:
    return [path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file")]


def leftovers(data_dir: Path, leader: int) -> list[str]:
    """Processes, loop devices, mounts and control groups that a builder has left behind."""
    found = [f"process {name_of(pid)}" for pid in session(leader)]
    found += [f"loop {file}" for file in loop_files() if str(data_dir) in file]
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):
            text = mounts.read_text()
            found += [f"mount of {mounts.parent.name}" for _ in [0] if f"{data_dir}/helper" in text]
    for hierarchy in find_hierarchies():
        groups = [p for p in hierarchy.base.glob("slipway-*/*") if p.is_dir()]
        for group in groups:
            with suppress(OSError):
                if str(leader) in (group / "cgroup.procs").read_text().split():
                    found.append(f"group {group}")
    return found


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def make_base(context: Path) -> str:
    """Fill a context with a shell and perl; return the Dockerfile's first lines."""
    (context / "bin").mkdir(parents=True)
    (context / "lib64").mkdir()
    shutil.copy(ENGINE_ROOT / "usr/bin/busybox", context / "bin/busybox")
    shutil.copy(ENGINE_ROOT / "usr/bin/perl", context / "bin/perl")
    for library in _libraries("/usr/bin/perl"):
        target = context / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ENGINE_ROOT / library.lstrip("/"), target)
    install = 'RUN ["/bin/busybox", "--install", "-s", "/bin"]'
    return f"FROM scratch\nCOPY . /\n{install}\n"


def _libraries(program: str) -> list[str]:
    (loader,) = [
        path
        for path in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
        if (ENGINE_ROOT / path.lstrip("/")).exists()
    ]
    argv = ["bwrap", "--ro-bind", str(ENGINE_ROOT), "/", loader, "--list", program]
    listing = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    words = {word for line in listing.splitlines() for word in line.split()}
    return sorted(word for word in words if word.startswith("/"))
