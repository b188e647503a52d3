"""Makes folders visible to the service user at their own paths, although parents are closed to it.

For example a checkout in /root, or a data directory below a folder of mode 0700. In a mount
namespace of this process and its children, an empty folder covers the closed one, and the needed
folders are bind-mounted into it. The rest of the closed folder is not visible. Standard library
only; runs as root.
"""

import ctypes
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from startup.service_user import ServiceUser, StartError, acting_as, check, libc

CLONE_NEWNS = 0x20000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE = 2, 4, 4096, 16384, 1 << 19
LEVELS = 8
"""Most closed folders on the way to one path."""


def make_reachable(paths: Iterable[Path], user: ServiceUser) -> None:
    """Make these folders reachable for the user. Raises StartError if that is not possible."""
    wanted = sorted({path.resolve() for path in paths})
    for level in range(LEVELS):
        with acting_as(user):
            closed = {path: first_closed(path) for path in wanted}
        covers = sorted({cover for cover in closed.values() if cover is not None})
        if not covers:
            return
        try:
            if level == 0:
                _own_namespace()
            for cover in covers:
                _uncover(cover, [path for path in wanted if closed[path] == cover])
        except OSError as problem:
            names = ", ".join(map(str, covers))
            text = (
                f"{user.name} cannot reach {names}, and it cannot be shown elsewhere "
                f"({problem.strerror}): move what is in there, or open it with chmod a+x"
            )
            raise StartError(text) from problem
    raise StartError(f"too many closed folders above {', '.join(map(str, wanted))}")


def first_closed(path: Path) -> Path | None:
    """The first folder on the way to `path`, itself included, that this user cannot enter."""
    for folder in (*reversed(path.parents), path):
        if not os.access(folder, os.X_OK, effective_ids=True):
            return folder
    return None


def _own_namespace() -> None:
    check(libc.unshare(CLONE_NEWNS))
    # Later mounts of the host are still visible here; mounts made here are not visible there.
    _mount("none", Path("/"), flags=MS_REC | MS_SLAVE)


def _uncover(cover: Path, paths: Sequence[Path]) -> None:
    """Cover a folder and show only `paths` in it, or all its content if it is one of them."""
    if cover in paths:
        paths = [*cover.iterdir(), *paths]
    # Open the paths before they are covered.
    opened = {
        path: os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        for path in sorted(paths)
        if path != cover
    }
    links = {path: path.readlink() for path in opened if path.is_symlink()}
    folders = {path for path in opened if path not in links and path.is_dir()}
    try:
        _mount("tmpfs", cover, kind="tmpfs", flags=MS_NOSUID | MS_NODEV, data="mode=0755,size=1m")
        for path, fd in opened.items():
            _show(path, fd, link=links.get(path), folder=path in folders)
    finally:
        for fd in opened.values():
            os.close(fd)


def _show(path: Path, fd: int, *, link: Path | None, folder: bool) -> None:
    if os.path.lexists(path):  # in a folder that is already visible
        return
    before = os.umask(0o022)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if link is not None:
            path.symlink_to(link)
            return
        if folder:
            path.mkdir()
        else:
            path.touch()
    finally:
        os.umask(before)
    _mount(f"/proc/self/fd/{fd}", path, flags=MS_BIND | MS_REC)


def _mount(source: str, target: Path, *, kind: str = "none", flags: int, data: str = "") -> None:
    parts = (source, str(target), kind)
    encoded = [os.fsencode(part) for part in parts]
    check(libc.mount(*encoded, ctypes.c_ulong(flags), os.fsencode(data) or None))
