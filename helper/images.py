"""Cache images: sparse files with an ext4 file system, mounted through autoclear loop devices.

An image is locked through the open file that its loop device holds, so the lock shows whether any
process still has it mounted.

The file systems have no journal and no barriers, see `helper.boot_marks`.
"""

import errno
import fcntl
import os
import stat
import struct
import time
from contextlib import suppress
from pathlib import Path

from helper import commands, syscalls
from helper.boot_marks import BootMark
from helper.commands import CommandError, run
from helper.protocol import Refused

LOCK_SECONDS = 5.0
MOUNT_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOATIME
MOUNT_OPTIONS = "errors=remount-ro,nobarrier,noinit_itable"
BYTES_PER_INODE = 8192

LOOP_CONTROL = "/dev/loop-control"
LOOP_CONFIGURE = 0x4C0A
LOOP_CTL_GET_FREE = 0x4C82
LO_FLAGS_AUTOCLEAR = 4
FITRIM = 0xC0185879
TRIM_FROM_BYTES = 1 << 16
LOOP_CONFIG_BYTES = 304
LOOP_FLAGS_AT = 8 + 52
LOOP_ATTEMPTS = 64

PLACE = "/usr/bin/true"

SUPERBLOCK_AT = 1024
SUPERBLOCK_BYTES = 1024
MAGIC_AT = 56
EXT4_MAGIC = 0xEF53
VALID, ERRORS = 1, 2


class Image:
    """One owner's cache image in a folder that only root can enter."""

    def __init__(self, folder_fd: int, name: str) -> None:
        self._folder_fd = folder_fd
        self.name = f"{name}.img"
        self._mark = BootMark(folder_fd, name)
        self.fd = -1

    def mount(self, target: str, *, size: int, owner_id: int, mkfs: "Mkfs") -> str:
        """Mount the image of `size` bytes, which is created if missing or damaged.

        Returns "kept", "new" or "recreated". Raises Refused ("in-use", "cache"), OSError or
        CommandError.
        """
        verdict = "kept"
        self._open_locked()
        if self.fd >= 0 and not self._is_sound(size):
            self.remove()
            verdict = "recreated"
        if self.fd >= 0:
            try:
                self._mount(target)
            except OSError:
                self.remove()
                verdict = "recreated"
            else:
                return verdict
        elif verdict == "kept":
            verdict = "new"
        self._make(size, owner_id, mkfs)
        self._mount(target)
        return verdict

    def remove(self) -> None:
        """Remove the image and its mark. The image must be locked or unused."""
        with suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self._folder_fd)
        self._mark.clear()
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def is_free(self) -> bool:
        """Whether no loop device holds the image. Never blocks."""
        try:
            fd = self._open()
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    def has_errors(self) -> bool:
        """Whether the kernel found the file system damaged, also while it is mounted.

        The kernel records that in the superblock at once. The mount flags do not show it: since
        Linux 6.12, a file system with errors=remount-ro does not appear read-only.
        """
        try:
            fd = os.open(
                self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder_fd
            )
        except FileNotFoundError:
            return False
        try:
            return bool(_state(fd) & ERRORS)
        finally:
            os.close(fd)

    def write_out(self) -> None:
        """Write the image to disk. May take long."""
        fd = self._open()
        os.fsync(fd)
        os.close(fd)

    def exists(self) -> bool:
        try:
            return stat.S_ISREG(os.lstat(self.name, dir_fd=self._folder_fd).st_mode)
        except FileNotFoundError:
            return False

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self.name, flags, dir_fd=self._folder_fd)

    def _open_locked(self) -> None:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                self.fd = self._open()
            except FileNotFoundError:
                return
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                if time.monotonic() > until:
                    raise Refused("in-use", "The cache is still mounted.") from None
                time.sleep(0.01)
            else:
                return

    def _is_sound(self, size: int) -> bool:
        about = os.fstat(self.fd)
        if not stat.S_ISREG(about.st_mode) or about.st_size != size:
            return False
        if self._mark.is_of_another_boot():
            return False
        state = _state(self.fd)
        return bool(state & VALID and not state & ERRORS)

    def _make(self, size: int, owner_id: int, mkfs: "Mkfs") -> None:
        new = f"{self.name}.new"
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=self._folder_fd)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(new, flags, 0o600, dir_fd=self._folder_fd)
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        os.ftruncate(self.fd, size)
        mkfs.make(self.fd, owner_id)
        os.rename(new, self.name, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)

    def _mount(self, target: str) -> None:
        self._mark.set()
        loop_fd, device = _attach(self.fd)
        try:
            syscalls.mount(device, target, "ext4", MOUNT_FLAGS, MOUNT_OPTIONS)
        finally:
            os.close(loop_fd)  # now only the mount keeps the device


class Mkfs:
    """mkfs.ext4 of this host, else of the engine root if only root can have written it."""

    def __init__(self, engine_root: str) -> None:
        self._path = commands.find("mkfs.ext4")
        self._root = None
        if self._path is None and _is_roots_own(f"{engine_root}/usr/sbin/mke2fs"):
            self._root = engine_root

    @property
    def available(self) -> bool:
        return self._path is not None or self._root is not None

    def make(self, fd: int, owner_id: int) -> None:
        """Create a file system in an open file. Takes milliseconds for any size.

        Raises CommandError.
        """
        extended = f"root_owner={owner_id}:{owner_id},lazy_itable_init=1,nodiscard"
        features = "^has_journal,^resize_inode,^orphan_file"
        options = ["-q", "-F", "-m", "0", "-i", str(BYTES_PER_INODE), "-O", features]
        if self._path is not None:
            argv = [self._path, *options, "-E", extended, f"/proc/self/fd/{fd}"]
            try:
                run(argv, keep=[fd])
            except CommandError:  # mkfs before 1.47 does not know orphan_file
                argv[argv.index(features)] = features.removesuffix(",^orphan_file")
                run(argv, keep=[fd])
            return
        argv = ["/usr/sbin/mke2fs", "-t", "ext4", *options, "-E", extended, PLACE]
        run(argv, prepare=lambda: self._enter_root(fd))

    def _enter_root(self, fd: int) -> None:
        # The program needs its own libraries, and there is no /proc in the engine root: mount the
        # image over a file that always exists.
        root = str(self._root)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        # A descriptor of another mount namespace cannot be bind-mounted, so use its path.
        syscalls.mount(os.readlink(f"/proc/self/fd/{fd}"), root + PLACE, None, syscalls.MS_BIND)
        if not os.path.samestat(os.stat(root + PLACE), os.fstat(fd)):
            raise OSError(errno.ESTALE, "the image moved")
        os.chroot(root)
        os.chdir("/")


def trim(mounted_fd: int) -> None:
    """Return the free space of a mounted image to the host. May take long.

    The mount option discard would do so at once, but makes removing many files ten times slower.
    """
    fcntl.ioctl(mounted_fd, FITRIM, struct.pack("=QQQ", 0, (1 << 64) - 1, TRIM_FROM_BYTES))


def _state(fd: int) -> int:
    """The state bits of the superblock: `VALID`, `ERRORS`. `ERRORS` without a superblock."""
    block = os.pread(fd, SUPERBLOCK_BYTES, SUPERBLOCK_AT)
    if len(block) < SUPERBLOCK_BYTES:
        return ERRORS
    magic, state = struct.unpack_from("<HH", block, MAGIC_AT)
    return int(state) if magic == EXT4_MAGIC else ERRORS


def _attach(fd: int) -> tuple[int, str]:
    """Attach a file to a free loop device with autoclear: it is detached after its last use."""
    # In one call: if this process were killed between two, the device would stay attached.
    config = bytearray(LOOP_CONFIG_BYTES)
    struct.pack_into("=I", config, 0, fd)
    struct.pack_into("=I", config, LOOP_FLAGS_AT, LO_FLAGS_AUTOCLEAR)
    control = os.open(LOOP_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(LOOP_ATTEMPTS):
            device = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            loop_fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(loop_fd, LOOP_CONFIGURE, bytes(config))
            except OSError as error:
                os.close(loop_fd)
                if error.errno != errno.EBUSY:  # another process took it first
                    raise
            else:
                return loop_fd, device
    finally:
        os.close(control)
    raise Refused("cache", "No loop device is free.")


def _is_roots_own(path: str) -> bool:
    """Whether only root can change the file or replace one of its parent folders."""
    real = Path(os.path.realpath(path))
    if not real.is_file():
        return False
    for part in (real, *real.parents):
        about = part.stat()
        open_to_others = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        # In a folder with the sticky bit, others cannot replace root's files.
        if about.st_uid != 0 or (open_to_others and not about.st_mode & stat.S_ISVTX):
            return False
    return True
