"""Runs in a forked child of the helper, and turns it into a builder sandbox.

As root: join the control groups, mount the cache in a new mount namespace, and become the first
id of the owner's range. Then, with any user: enter user, network and other namespaces, block the
private networks, and execute bubblewrap, which shows only the engine root and the cache. The
command runs in a second user namespace, in which mounts and routes cannot be changed.

It is one process up to bubblewrap, so that the outermost process of the sandbox gets the
parent-death signal when the helper dies. The other end of `channel` is in `helper.builder`.
"""

import fcntl
import json
import os
import resource
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from helper import commands, networks, seccomp, syscalls
from helper.commands import CommandError
from helper.etc import HOSTNAME, write_etc
from helper.images import Image, Mkfs
from helper.protocol import Refused

ROOM = "/mnt"
OPEN_FILES = 1 << 20
OOM_SCORE = "500"
TMPFS_BYTES = 256 << 20
SHM_BYTES = 64 << 20
LISTEN_FD = 3
FILTER_FD = 4
NEST = (
    "unshare",
    "--user",
    "--map-root-user",
    "--map-users=1,1,65535",
    "--map-groups=1,1,65535",
    "--mount",
    "--",
)
# dockerd checks for a containerd that it starts itself only once a second, so start it here. If
# one of the two ends, the sandbox ends.
DOCKERD_SCRIPT = """\
containerd --config /etc/containerd/config.toml --log-level warn &
containerd=$!
until [ -S /run/containerd.sock ]; do
  kill -0 $containerd || exit 1
  sleep 0.005
done
LISTEN_FDS=1 bash -c 'LISTEN_PID=$$ exec "$@"' bash "$@" &
exec 3<&-
wait -n
"""
DOCKERD = (
    *("bash", "-c", DOCKERD_SCRIPT, "bash"),
    *("dockerd", "--rootless", "--config-file=/etc/docker/daemon.json", "--host=fd://"),
    *("--data-root=/b/owner/data", "--exec-root=/run/exec", "--pidfile=/run/dockerd.pid"),
    *("--containerd=/run/containerd.sock", "--bridge=none"),
    *("--iptables=false", "--ip6tables=false", "--ip-forward=false"),
)
# It ends with an error because it cannot remove the mount point itself.
EMPTY_CACHE = ("rm", "-rf", "--one-file-system", "--", "/b/owner")
SANDBOX_ENV = {
    "PATH": "/usr/bin:/usr/sbin",
    "HOME": "/b/owner",
    "XDG_RUNTIME_DIR": "/run",
    "BUILDKIT_STEP_LOG_MAX_SIZE": "-1",
    "BUILDKIT_STEP_LOG_MAX_SPEED": "-1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The parameters of one sandbox. None is unvalidated text from a request."""

    helper_pid: int
    is_root: bool
    engine_root: Path
    state: Path
    state_fd: int
    cache_name: str
    image_bytes: int | None
    """Size of the cache image. None for a cache folder."""
    mkfs: Mkfs
    first_id: int
    """First kernel id of the owner's range. Used as root only."""
    map_ids: Callable[[int], None]
    """Writes the id maps of the process with the given pid. Called in a child of the helper."""
    network: bool
    deny: tuple[str, ...]
    groups: tuple[Path, ...]
    command: tuple[str, ...] = DOCKERD


class Channel:
    """The child's end of its socket to the helper. It closes when the command starts."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def tell(self, message: Mapping[str, object], *fds: int) -> None:
        socket.send_fds(self._end, [json.dumps(message).encode()], list(fds))

    def await_ids(self) -> None:
        """Let the helper map ids into this process's user namespace. Raises Refused."""
        self.tell({"stage": "ids"})
        if self._end.recv(16) != b"mapped":
            raise Refused("sandbox", "No ids were mapped.")


def start(plan: Plan, channel: Channel, listener: int | None, output: int) -> NoReturn:
    """Become the sandbox. Never returns; errors are sent over the channel."""
    try:
        _start(plan, channel, listener, output)
    except Refused as refused:
        channel.tell({"stage": "error", "error": refused.code, "text": refused.text})
    except (OSError, ValueError, CommandError) as error:
        channel.tell({"stage": "error", "error": "sandbox", "text": str(error)[:500]})
    finally:
        os._exit(1)


def _start(plan: Plan, channel: Channel, listener: int | None, output: int) -> NoReturn:
    os.setsid()
    os.umask(0o022)
    syscalls.die_with_parent(plan.helper_pid)
    for folder in plan.groups:
        (folder / "cgroup.procs").write_text("0")
    _set_resource_limits(plan.is_root)
    syscalls.join_new_session_keyring()
    if plan.is_root:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        _furnish(plan, channel)
        _become(plan.first_id)
        syscalls.die_with_parent(plan.helper_pid)
    network = Network(plan.network, plan.deny)
    syscalls.unshare(
        syscalls.CLONE_NEWUSER
        | syscalls.CLONE_NEWNS
        | syscalls.CLONE_NEWNET
        | syscalls.CLONE_NEWCGROUP
        | syscalls.CLONE_NEWIPC
        | syscalls.CLONE_NEWUTS
    )
    channel.await_ids()
    _become(0)
    syscalls.die_with_parent(plan.helper_pid)
    if not plan.is_root:
        _furnish(plan, channel)
    write_etc(Path(ROOM, "etc"), Path(ROOM, "root"))
    syscalls.mount("groups", f"{ROOM}/cgroup", "cgroup2", syscalls.MS_RDONLY)
    # Allow exactly one more user namespace, the second one, and none inside of it.
    Path("/proc/sys/user/max_user_namespaces").write_text("1")
    network.configure()
    channel.tell({"stage": "command"})
    _exec_bwrap(plan, listener, output)


def _set_resource_limits(is_root: bool) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = hard
    if is_root:
        files = min(OPEN_FILES, int(Path("/proc/sys/fs/nr_open").read_text()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    except ValueError:  # root of a container without CAP_SYS_RESOURCE
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)


def _furnish(plan: Plan, channel: Channel) -> None:
    """Mount the folders for bubblewrap below `ROOM`, in this mount namespace only."""
    if plan.is_root:
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    # Use descriptors, because the paths may be below `ROOM`, which is covered next.
    engine = os.open(plan.engine_root, os.O_PATH | os.O_DIRECTORY)
    folder = _open_cache_folder(plan) if plan.image_bytes is None else -1
    syscalls.mount("room", ROOM, "tmpfs", syscalls.MS_NOSUID, "mode=0755,size=4m")
    for name in ("root", "owner", "etc", "cgroup"):
        os.mkdir(f"{ROOM}/{name}", 0o755)
    syscalls.mount(f"/proc/self/fd/{engine}", f"{ROOM}/root", None, syscalls.MS_BIND)
    owner = f"{ROOM}/owner"
    if plan.image_bytes is None:
        syscalls.mount(f"/proc/self/fd/{folder}", owner, None, syscalls.MS_BIND)
        os.close(folder)
        verdict = "kept"
    else:
        image = Image(plan.state_fd, plan.cache_name)
        verdict = image.mount(owner, size=plan.image_bytes, owner_id=plan.first_id, mkfs=plan.mkfs)
        image.close()
    os.close(engine)
    if plan.is_root:
        os.chown(f"{ROOM}/etc", plan.first_id, plan.first_id)
    if plan.network and plan.is_root:
        os.mknod(f"{ROOM}/tun", 0o020666, os.makedev(10, 200))
        os.chmod(f"{ROOM}/tun", 0o666)  # noqa: S103  (in this mount namespace only)
        syscalls.mount(f"{ROOM}/tun", str(networks.TUN), None, syscalls.MS_BIND)
    mounted = os.open(owner, os.O_RDONLY | os.O_DIRECTORY)
    channel.tell({"stage": "cache", "cache": verdict}, mounted)
    os.close(mounted)


def _open_cache_folder(plan: Plan) -> int:
    """Open the owner's folder in this mount namespace. Raises Refused if it was replaced."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    state = os.open(plan.state, flags)
    if not os.path.samestat(os.fstat(state), os.fstat(plan.state_fd)):
        raise Refused("cache", "The helper's folder was replaced.")
    found = os.open(plan.cache_name, flags, dir_fd=state)
    os.close(state)
    return found


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    syscalls.become_dumpable()


class Network:
    """Starts slirp4netns while this process still has the user that may open the tun device."""

    def __init__(self, wanted: bool, deny: tuple[str, ...]) -> None:
        self._wanted = wanted
        # Read the host's addresses now: they are not visible in the new network namespace.
        self._closed = networks.closed(deny, networks.own_addresses())
        if not wanted:
            return
        self._ready, ready = os.pipe()
        go, self._go = os.pipe()
        parent = os.getpid()
        if os.fork() == 0:
            try:
                syscalls.die_with_parent(parent)
                os.close(self._go)
                os.close(self._ready)
                if os.read(go, 1):
                    _exec_slirp(parent, ready)
            finally:
                os._exit(1)
        os.close(ready)
        os.close(go)

    def configure(self) -> None:
        """Bring the interfaces up and block the private networks. Raises Refused."""
        batch = networks.OFFLINE
        if self._wanted:
            os.write(self._go, b"1")
            if not os.read(self._ready, 1):
                raise Refused("network", "slirp4netns did not start.")
            os.close(self._go)
            os.close(self._ready)
            batch = networks.batch(self._closed)
        # The engine root's `ip`, because the host may have none.
        commands.run(["/usr/sbin/ip", "-batch", "-"], stdin=batch, prepare=_enter_engine_root)


def _enter_engine_root() -> None:
    os.chroot(f"{ROOM}/root")
    os.chdir("/")


def _exec_slirp(target: int, ready: int) -> NoReturn:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.set_inheritable(ready, True)
    program = str(commands.find("slirp4netns"))
    flags = ["--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"]
    argv = [program, *flags, f"--ready-fd={ready}", str(target), "tap0"]
    os.execve(program, argv, commands.ENV)


def _exec_bwrap(plan: Plan, listener: int | None, output: int) -> NoReturn:
    filter_fd = _filter_file()
    null = os.open(os.devnull, os.O_RDWR)
    # Descriptors may have the numbers of targets, so first duplicate all to high numbers.
    high = [os.dup(fd) for fd in (null, output, output)]
    targets = [0, 1, 2]
    for fd, target in ((listener, LISTEN_FD), (filter_fd, FILTER_FD)):
        if fd is not None:
            high.append(_dup_high(fd))
            targets.append(target)
    high[:3] = [_dup_high(fd) for fd in high[:3]]
    for fd, target in zip(high, targets, strict=True):
        os.dup2(fd, target, inheritable=True)
    program = str(commands.find("bwrap"))
    argv = [program, *_bwrap_arguments(filter_fd is not None), "--", *NEST, *plan.command]
    os.execve(program, argv, commands.ENV)


def _dup_high(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64)


def _filter_file() -> int | None:
    program = seccomp.program()
    if not program:
        return None
    fd = os.memfd_create("seccomp")
    os.write(fd, program)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _bwrap_arguments(filtered: bool) -> list[str]:
    arguments = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", HOSTNAME]
    arguments += ["--die-with-parent", "--ro-bind", f"{ROOM}/root/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64"):
        arguments += ["--symlink", f"usr/{name}", f"/{name}"]
    arguments += ["--ro-bind", f"{ROOM}/etc", "/etc"]
    for path in ("/tmp", "/run", "/opt", "/var/tmp"):  # noqa: S108  (in the sandbox)
        arguments += ["--perms", "1777", "--size", str(TMPFS_BYTES), "--tmpfs", path]
    arguments += ["--dir", "/root", "--dir", "/var/lib", "--proc", "/proc", "--dev", "/dev"]
    arguments += ["--perms", "1777", "--size", str(SHM_BYTES), "--tmpfs", "/dev/shm"]  # noqa: S108
    arguments += ["--dir", "/sys"]
    cpus = "/sys/devices/system/cpu"
    arguments += ["--ro-bind", cpus, cpus, "--ro-bind", f"{ROOM}/cgroup", "/sys/fs/cgroup"]
    arguments += ["--bind", f"{ROOM}/owner", "/b/owner", "--remount-ro", "/", "--chdir", "/b"]
    arguments.append("--clearenv")
    for name, value in SANDBOX_ENV.items():
        arguments += ["--setenv", name, value]
    if filtered:
        arguments += ["--seccomp", str(FILTER_FD)]
    return arguments
