"""A plain `docker build`, as the control: the engine root's dockerd as root, and its buildx.

dockerd runs in namespaces of its own with nothing but loopback for a network. Base images come
from a registry in there, as a mirror of Docker Hub. Nothing of Slipway takes part.
"""

import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from builds.process import Finished, run, start
from tests.conformance.bases import base_images, write_layout
from tests.conformance.case import Case, write_context
from tests.conformance.image import read_image
from tests.conformance.result import Result

START = """set -eu
ip link set lo up
busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
cat >/run/registry.yml <<EOF
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: /stand/registry}}
http: {addr: "127.0.0.1:5000"}
EOF
docker-registry serve /run/registry.yml &
for i in $(seq 100); do
  (exec 3<>/dev/tcp/127.0.0.1/5000) 2>/dev/null && break
  sleep 0.05
done
for layout in /stand/bases/*; do
  skopeo copy --quiet --dest-tls-verify=false --insecure-policy \
    "oci:$layout" "docker://127.0.0.1:5000/$(cat "$layout/name")"
done
cat >/run/daemon.json <<EOF
{"features": {"containerd-snapshotter": true}, "registry-mirrors": ["http://127.0.0.1:5000"]}
EOF
export BUILDKIT_STEP_LOG_MAX_SIZE=-1 BUILDKIT_STEP_LOG_MAX_SPEED=-1
exec dockerd --config-file /run/daemon.json --host unix:///stand/socket/docker.sock \
  --data-root /stand/data --exec-root /run/exec --pidfile /run/dockerd.pid \
  --iptables=false --ip6tables=false --bridge=none
"""
BUILDX = "/usr/libexec/docker/cli-plugins/docker-buildx"
START_SECONDS = 60
BUILD_SECONDS = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainDocker:
    """A running dockerd. `folder` is where each build finds its context and leaves its image."""

    engine_root: Path
    folder: Path

    def build(self, case: Case) -> Result:
        """Build a case as `docker build` does."""
        place = self.folder / "builds" / case.name
        place.mkdir(parents=True)
        write_context(case, place / "context")
        (place / "out").mkdir()
        ended = self._buildx(place, case)
        text = ended.stderr.decode(errors="replace")
        if ended.exit_code == 0:
            return Result(image=read_image(place / "out/image"), output=text)
        return Result(
            output=text,
            told=text.rstrip().rpartition("ERROR: ")[2],
            exit_code=_exit_code(text),
            line=_failing_line(text),
        )

    def _buildx(self, place: Path, case: Case) -> Finished:
        options = case.options
        command = [BUILDX, "build", "--progress=plain", "--provenance=false"]
        command += ["--network=host", "--allow=network.host"]
        command += [f"--build-arg={name}={value}" for name, value in options.build_args.items()]
        command += [f"--label={name}={value}" for name, value in options.labels.items()]
        command += [f"--target={options.target}"] if options.target else []
        command += ["--no-cache"] if options.no_cache else []
        command += ["--output=type=oci,tar=false,dest=/out/image", "/context"]
        return run(
            [
                *("bwrap", "--unshare-all", "--die-with-parent", *programs(self.engine_root)),
                *("--ro-bind", str(self.folder / "socket"), "/socket"),
                *("--ro-bind", str(place / "context"), "/context"),
                *("--bind", str(place / "out"), "/out", "--chdir", "/context"),
                *("--setenv", "DOCKER_HOST", "unix:///socket/docker.sock", "--", *command),
            ],
            deadline=BUILD_SECONDS,
            check=False,
            output_limit=64 << 20,
        )


@contextmanager
def running_docker(engine_root: Path, folder: Path) -> Iterator[PlainDocker]:
    """Start dockerd with its registry; needs root. Ends with all that it started."""
    for name in ("bases", "socket", "data", "registry"):
        (folder / name).mkdir()
    for number, image in enumerate(base_images(engine_root)):
        write_layout(image, folder / "bases" / str(number))
        (folder / "bases" / str(number) / "name").write_text(image.name)
    (folder / "start").write_text(START)
    log = folder / "dockerd.log"
    with (
        _control_group() as group,
        start(_daemon(engine_root, folder, group), log=log) as daemon,
    ):
        docker = PlainDocker(engine_root=engine_root, folder=folder)
        until = time.monotonic() + START_SECONDS
        while "API listen on" not in log.read_text():
            assert daemon.exit_code is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield docker


def _daemon(engine_root: Path, folder: Path, group: Path) -> Sequence[str]:
    enter = f'echo $$ >"{group}/cgroup.procs" && exec unshare --cgroup --net -- "$@"'
    return [
        *("sh", "-c", enter, "sh"),
        *("bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "build"),
        *("--die-with-parent", "--cap-add", "ALL", *programs(engine_root)),
        *("--tmpfs", "/run", "--tmpfs", "/opt", "--tmpfs", "/var"),
        *("--tmpfs", "/sys", "--dir", "/sys/fs/cgroup", "--bind", str(folder), "/stand"),
        *("--setenv", "XDG_RUNTIME_DIR", "/run", "--", "bash", "/stand/start"),
    ]


def programs(engine_root: Path) -> list[str]:
    """bwrap's arguments for a file system that holds the engine root's programs only."""
    links = [
        ("usr/bin", "/bin"),
        ("usr/sbin", "/sbin"),
        ("usr/lib", "/lib"),
        ("usr/lib64", "/lib64"),
    ]
    return [
        *("--ro-bind", str(engine_root / "usr"), "/usr"),
        *("--ro-bind", str(engine_root / "etc"), "/etc"),
        *(word for source, place in links for word in ("--symlink", source, place)),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--clearenv"),
        *("--setenv", "HOME", "/tmp", "--setenv", "PATH", "/usr/bin:/usr/sbin"),
    ]


@contextmanager
def _control_group() -> Iterator[Path]:
    """A control group for dockerd, so that the groups that it makes are removed with it."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    place = Path(next(fields[1] for fields in mounts if fields[2] == "cgroup2"))
    group = Path(tempfile.mkdtemp(prefix="slipway-test-", dir=place))
    try:
        yield group
    finally:
        until = time.monotonic() + 10
        while group.exists() and time.monotonic() < until:
            for each in sorted(group.rglob("*"), reverse=True):
                with suppress(OSError):
                    each.rmdir()
            with suppress(OSError):
                group.rmdir()
            time.sleep(0.02)


def _exit_code(text: str) -> int | None:
    """Of the RUN that failed: buildx prints the reason last."""
    last = text.rstrip().rpartition("\nERROR: ")[2]
    found = re.search(r"exit code: (\d+)$", last)
    return int(found[1]) if found else None


def _failing_line(text: str) -> int | None:
    """From `Dockerfile:5` above the excerpt, or from the words of a parse error."""
    found = re.findall(r"^Dockerfile:(\d+)$|on line (\d+):", text, re.MULTILINE)
    return int(found[-1][0] or found[-1][1]) if found else None
