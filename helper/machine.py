"""Checks once at start what the helper can do on this machine."""

import os
import pwd
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helper import commands, id_ranges, networks, syscalls
from helper.control_groups import CONTROLLERS, Hierarchy, find_hierarchies
from helper.images import LOOP_CONTROL, Image, Mkfs

DOCKERD_PLACES = ("usr/bin/dockerd", "usr/sbin/dockerd")
TRIAL_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The result of the checks."""

    is_root: bool
    hierarchies: tuple[Hierarchy, ...]
    cache_images: bool
    network: bool
    mkfs: Mkfs
    problems: tuple[str, ...]
    """Each is `<code>: <text>`."""

    @property
    def limits(self) -> list[str]:
        """The controllers for which limits can be set."""
        held = {name for hierarchy in self.hierarchies for name in hierarchy.controllers}
        return [name for name in CONTROLLERS if name in held]


def examine(engine_root: Path, folder_fd: int) -> Machine:
    """Run all checks. `folder_fd` is the folder of caches, in which a trial image is mounted."""
    is_root = os.geteuid() == 0
    mkfs = Mkfs(str(engine_root))
    found = find_hierarchies() if is_root else ()
    needed = ("bwrap",) if is_root else ("bwrap", "newuidmap", "newgidmap")
    problems = [
        f"missing: {program} is not installed."
        for program in needed
        if commands.find(program) is None
    ]
    if not any((engine_root / place).exists() for place in DOCKERD_PLACES):
        problems.append("engine-root: The engine root has no dockerd.")
    if not is_root and subordinate_ids() is None:
        problems.append("subordinate-ids: This user has no 65,535 subordinate ids.")
    if not _works(_enter_user_namespace):
        problems.append(f"user-namespaces: {_namespace_hint()}")
    images = is_root and _can_mount_images(mkfs, folder_fd, problems)
    network = _can_connect(is_root, problems)
    held = {name for hierarchy in found for name in hierarchy.controllers}
    missing = [name for name in CONTROLLERS if name not in held]
    if is_root and missing:
        problems.append(f"limits: No control groups for {', '.join(missing)}.")
    return Machine(
        is_root=is_root,
        hierarchies=found,
        cache_images=images,
        network=network,
        mkfs=mkfs,
        problems=tuple(problems),
    )


def subordinate_ids() -> tuple[int, int] | None:
    """First subordinate user id and group id of the user that runs the helper. None without."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    users = id_ranges.subordinate_range("subuid", name, uid)
    groups = id_ranges.subordinate_range("subgid", name, uid)
    return (users, groups) if users is not None and groups is not None else None


def _can_connect(is_root: bool, problems: list[str]) -> bool:
    if commands.find("slirp4netns") is None:
        problems.append("network: slirp4netns is not installed.")
        return False
    if not networks.TUN.exists() or not stat.S_ISCHR(networks.TUN.stat().st_mode):
        problems.append("network: There is no /dev/net/tun.")
        return False
    if not is_root and not os.access(networks.TUN, os.R_OK | os.W_OK):
        problems.append("network: /dev/net/tun is not writable for this user.")
        return False
    return True


def _can_mount_images(mkfs: Mkfs, folder_fd: int, problems: list[str]) -> bool:
    if not mkfs.available:
        problems.append("cache-images: mkfs.ext4 is not installed.")
    elif not os.access(LOOP_CONTROL, os.R_OK | os.W_OK):
        problems.append("cache-images: There are no loop devices.")
    elif not _works(lambda: _mount_trial(mkfs, folder_fd)):
        problems.append("cache-images: A file system image cannot be mounted.")
    else:
        return True
    return False


def _mount_trial(mkfs: Mkfs, folder_fd: int) -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    image = Image(folder_fd, "trial")
    image.remove()
    with tempfile.TemporaryDirectory() as target:
        try:
            image.mount(target, size=TRIAL_BYTES, owner_id=0, mkfs=mkfs)
            os.statvfs(target)
            syscalls.unmount(target)
        finally:
            image.remove()


def _enter_user_namespace() -> None:
    if os.geteuid() == 0:  # test as another user, since root may do what others may not
        nobody = id_ranges.FIRST
        os.setgroups([])
        os.setresgid(nobody, nobody, nobody)
        os.setresuid(nobody, nobody, nobody)
    syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET)
    # If AppArmor restricts user namespaces, they can be created but give no rights.
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)


def _namespace_hint() -> str:
    for name, bad in (
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("user/max_user_namespaces", "0"),
    ):
        file = Path("/proc/sys", name)
        if file.exists() and file.read_text().strip() == bad:
            return f"The setting {name.replace('/', '.')}={bad} forbids user namespaces."
    return "User namespaces cannot be made."


def _works(trial: Callable[[], None]) -> bool:
    """Whether `trial` succeeds in a child process."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            trial()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0
