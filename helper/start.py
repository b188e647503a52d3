"""Starts the helper. Used at Slipway's start, before other packages are imported."""

import os
import socket
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from helper.folders import BUSY

MAIN = Path(__file__).with_name("__main__.py")
STOP_SECONDS = 60.0
WAIT_SECONDS = 30.0
"""How long to wait for a helper that another process starts."""
POLL_SECONDS = 0.1


class HelperError(Exception):
    """The helper did not start. It has written the reason to stderr."""

    def __init__(self, text: str, exit_code: int = 0) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Helper:
    """A running helper. It ends when this process ends."""

    socket: Path
    process: "subprocess.Popen[bytes]"
    lifeline: int

    def stop(self) -> None:
        """End the helper and all sandboxes, and wait at most STOP_SECONDS for it."""
        os.close(self.lifeline)
        self.process.wait(STOP_SECONDS)


def start_helper(
    data_dir: Path,
    engine_root: Path,
    *,
    service_uid: int | None = None,
    service_gid: int | None = None,
) -> Helper:
    """Start the helper and wait until clients can connect. Raises HelperError.

    The helper keeps this process's privileges: call this before giving up root. Only the service
    user (default: this user) and root may connect.
    """
    lifeline_read, lifeline = os.pipe()
    ready, ready_write = os.pipe()
    uid = os.getuid() if service_uid is None else service_uid
    gid = os.getgid() if service_gid is None else service_gid
    fds = (lifeline_read, ready_write)
    argv = [sys.executable, "-I", "-S", str(MAIN), "--data-dir", str(data_dir)]
    argv += ["--engine-root", str(engine_root), "--service-uid", str(uid)]
    argv += ["--service-gid", str(gid), "--lifeline", str(fds[0]), "--ready", str(fds[1])]
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, pass_fds=fds, start_new_session=True, cwd="/", env={}
    )
    for fd in fds:
        os.close(fd)
    with os.fdopen(ready, "rb") as file:
        if not file.read(1):
            os.close(lifeline)
            code = process.wait()
            raise HelperError(f"The helper ended with {code}.", code)
    return Helper(data_dir / "run/helper.sock", process, lifeline)


_started: dict[Path, Helper] = {}


def ensure_helper(
    data_dir: Path, engine_root: Path, service_uid: int | None, service_gid: int | None
) -> Path:
    """Return the socket of this data directory's helper. Start one if none is running.

    A helper started here ends with this process. If another process is starting one, or if root
    has prepared the data directory, wait for that helper. Raises HelperError.
    """
    path = data_dir / "run/helper.sock"
    if _answers(path):
        return path
    about = data_dir.stat()
    if os.geteuid() != 0 == about.st_uid and about.st_mode & stat.S_ISVTX:
        if not _appears(path):
            raise HelperError(f"{data_dir} is root's: start `manage.py helper` as root.")
        return path
    try:
        _started[path] = start_helper(
            data_dir, engine_root, service_uid=service_uid, service_gid=service_gid
        )
    except HelperError as error:
        if error.exit_code != BUSY or not _appears(path):
            raise
    return path


def _appears(path: Path) -> bool:
    until = time.monotonic() + WAIT_SECONDS
    while not (found := _answers(path)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return found


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
        try:
            folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            end.connect(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            return False
        finally:
            os.close(folder)
    return True
