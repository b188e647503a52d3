"""Opens folders of a data directory that the service user can write, without following links."""

import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

BUSY = 75
"""Exit code if another helper already serves the data directory."""


class FolderError(Exception):
    """A folder has the wrong type, owner or mode. The helper ends with `exit_code`."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def open_private_folder(parent_fd: int, name: str) -> int:
    """Open or create a folder of this user with mode 0700. Raises FolderError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent_fd)
        fd = os.open(name, flags, dir_fd=parent_fd)
    except OSError as error:
        raise FolderError(f"{name} in the data directory: {error.strerror}") from error
    about = os.fstat(fd)
    if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
        os.close(fd)
        raise FolderError(f"{name} in the data directory must belong to its user, with mode 0700.")
    return fd


def installation(data_dir: os.stat_result) -> str:
    """A unique name for a data directory on this host, the same in every mount namespace."""
    text = f"{data_dir.st_dev}:{data_dir.st_ino}"
    return f"slipway-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def lock_folder(folder_fd: int) -> int:
    """Lock the folder for this process. Returns the lock's descriptor. Raises FolderError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open("lock", flags, 0o600, dir_fd=folder_fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise FolderError("A helper of this data directory runs already.", BUSY) from None
    return fd
