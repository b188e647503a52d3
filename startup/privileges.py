"""Gives up root before Django and other packages are imported.

Started as root, Slipway gives its data directory to the service user, starts the privileged helper
and continues as the service user for good. Standard library only.
"""

import os
import shutil
import stat
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from config.env import ENGINE_ROOT, IN_FILE, Environment, load, private_folder, read_files
from helper.start import MAIN, HelperError, ensure_helper
from startup.private_mounts import make_reachable
from startup.service_user import ServiceUser, StartError, acting_as, become, find_user

CHECKOUT = Path(__file__).resolve().parent.parent
WITHOUT_INSTANCE = frozenset({"", "check", "help", "makemigrations", "spectacular", "version"})
"""Commands of manage.py that need no data directory."""
BUILDING = frozenset({"up", "worker", "doctor"})
FOLDERS = ("builds", "files", "registry", "static", "spool", "examples", "workers")
FILES = ("secret_key", "admin.key", "admin.password", "lock", "slipway.sqlite3")
DATABASE_FILES = ("slipway.sqlite3-wal", "slipway.sqlite3-shm")
OF_ROOT = ("engine-root", "helper", "run")
FORMER_ENGINE = "engine"
MODE = 0o1770
FIRST_FREE_PORT = 1024


def drop_privileges(arguments: Sequence[str]) -> None:
    """Give up root for a command of manage.py. `arguments` are those after the program's name.

    Called before Django is imported. Raises StartError and BadEnvironment.
    """
    command = next((each for each in arguments if not each.startswith("-")), "")
    if command in WITHOUT_INSTANCE or "--help" in arguments:
        return
    if command == "helper":
        serve_helper()
    enter(building=command in BUILDING)


def serve_helper() -> NoReturn:
    """`manage.py helper`: become the helper until SIGTERM.

    For a service manager that starts the helper as root, and workers separately as SLIPWAY_USER.
    Otherwise `worker` starts a helper itself.
    """
    environment = load(os.environ)  # noqa: TID251
    data_dir = environment.data_dir
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        user = find_user(environment.user)
        prepare(data_dir, user)
        _show_folders(environment, user)
        uid, gid = user.uid, user.gid
    command = [sys.executable, "-I", "-S", str(MAIN), "--data-dir", str(private_folder(data_dir))]
    command += ["--engine-root", str(environment.engine_root or data_dir / ENGINE_ROOT)]
    command += ["--service-uid", str(uid), "--service-gid", str(gid)]
    os.execve(sys.executable, command, {})  # noqa: S606  (in the place of this process, no shell)


def enter(*, building: bool) -> None:
    """Become the service user if this process is root. Safe to call twice.

    With `building`, start a helper if none is running. Raises StartError and BadEnvironment.
    """
    os.umask(0o077)
    environment = load(os.environ)  # noqa: TID251
    if os.geteuid() != 0:
        if building:
            _start_helper(environment, None)
        return
    user = find_user(environment.user)
    data_dir = environment.data_dir
    # Files with secrets may be readable by root only.
    for name, value in read_files(os.environ).items():  # noqa: TID251
        os.environ[name] = value  # noqa: TID251
        del os.environ[f"{name}{IN_FILE}"]  # noqa: TID251
    prepare(data_dir, user)
    _show_folders(environment, user)
    if building:
        _start_helper(environment, user)
    # Keep the same data directory, and do not use root's home.
    os.environ["SLIPWAY_DATA_DIR"] = str(data_dir)  # noqa: TID251
    os.environ["HOME"] = str(data_dir)  # noqa: TID251
    become(user, low_ports=any(0 < port < FIRST_FREE_PORT for port in _ports(environment)))


def _show_folders(environment: Environment, user: ServiceUser) -> None:
    """Make folders reachable for the service user, and for the helper's socket made as it."""
    folders = [CHECKOUT, environment.data_dir, *_python_folders()]
    if environment.engine_root is not None:
        folders.append(environment.engine_root.parent)
    here = Path.cwd()
    make_reachable(folders, user)
    check_access(environment.data_dir, user)
    with suppress(OSError):
        os.chdir(here)  # noqa: TID251  (the same path, as it is shown now)


def _start_helper(environment: Environment, user: ServiceUser | None) -> None:
    """Start the helper with this process's current privileges, unless builds are scripted."""
    if environment.engine == "scripted":
        return
    data_dir = private_folder(environment.data_dir)
    engine_root = environment.engine_root or data_dir / ENGINE_ROOT
    try:
        ensure_helper(data_dir, engine_root, user.uid if user else None, user.gid if user else None)
    except HelperError as problem:
        raise StartError(f"the helper that starts builds does not start: {problem}") from problem


def _ports(environment: Environment) -> list[int]:
    return [environment.port, environment.registry_port, environment.metrics_port]


def _python_folders() -> list[Path]:
    parts = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()]
    return [Path(part) for part in parts if Path(part).is_dir()]


def check_access(data_dir: Path, user: ServiceUser) -> None:
    """Raise StartError if the service user cannot read the code or write the data directory."""
    with acting_as(user):
        for path in [CHECKOUT / "manage.py", CHECKOUT / "config/settings.py", *_python_folders()]:
            if not os.access(path, os.R_OK, effective_ids=True):
                raise StartError(
                    f"{user.name}, the user that Slipway runs as, cannot read {path}: "
                    f"open the checkout with chmod -R a+rX {CHECKOUT}"
                )
        if not os.access(data_dir, os.W_OK | os.X_OK, effective_ids=True):
            raise StartError(f"SLIPWAY_DATA_DIR: {user.name} cannot write in {data_dir}")


def prepare(data_dir: Path, user: ServiceUser) -> None:
    """Create the data directory, or change the owner of one whose instance ran as root.

    The folder itself stays owned by root, with the sticky bit: the service user can create and
    remove its own files in it, but cannot replace the engine root. Raises StartError.
    """
    try:
        before = os.umask(0o022)
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        finally:
            os.umask(before)
        folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise StartError(f"SLIPWAY_DATA_DIR: cannot make {data_dir}: {problem}") from problem
    try:
        _hand_over_all(folder, data_dir, user)
    except OSError as problem:
        text = f"SLIPWAY_DATA_DIR: cannot hand {data_dir} to {user.name}: {problem}"
        raise StartError(text) from problem
    finally:
        os.close(folder)


def _hand_over_all(folder: int, data_dir: Path, user: ServiceUser) -> None:
    names = set(os.listdir(folder))
    known = {*FOLDERS, *FILES, *DATABASE_FILES, *OF_ROOT, FORMER_ENGINE}
    if names and not names & known:
        raise StartError(f"SLIPWAY_DATA_DIR: {data_dir} holds other things: name an empty folder")
    # First, so that from now on the service user cannot replace root's files here.
    about = os.fstat(folder)
    if (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)) != (0, user.gid, MODE):
        os.fchown(folder, 0, user.gid)
        os.fchmod(folder, MODE)
    for name in sorted(names & known - set(OF_ROOT)):
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if about.st_uid not in {0, user.uid}:
            raise StartError(
                f"SLIPWAY_DATA_DIR: {data_dir / name} belongs to the user with the id "
                f"{about.st_uid}: start Slipway as that user, or chown it to {user.name}"
            )
        if about.st_uid == 0:
            _hand_over(name, about, folder, user)


def _hand_over(name: str, about: os.stat_result, folder: int, user: ServiceUser) -> None:
    if name == FORMER_ENGINE:
        # It has only caches, and builds could write there: root must not chown such a tree.
        shutil.rmtree(name, dir_fd=folder)
        return
    if stat.S_ISDIR(about.st_mode):
        for _, folders, files, fd in os.fwalk(name, dir_fd=folder, follow_symlinks=False):
            for each in (*folders, *files):
                _chown(each, os.stat(each, dir_fd=fd, follow_symlinks=False), fd, user)
    # Last, so that an interrupted change of owner starts again.
    _chown(name, about, folder, user)


def _chown(name: str, about: os.stat_result, folder: int, user: ServiceUser) -> None:
    # A file with a second hard link may belong to somebody else.
    if about.st_uid == 0 and (stat.S_ISDIR(about.st_mode) or about.st_nlink == 1):
        os.chown(name, user.uid, user.gid, dir_fd=folder, follow_symlinks=False)
