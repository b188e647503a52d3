"""Started as root, Slipway runs as its service user, and finds its folders wherever they are."""

import ctypes
import errno
import io
import os
import platform
import pty
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest

from builds.engine_root import BUSYBOX
from builds.engines.sandbox.helper import Helper
from config.env import load
from startup.private_mounts import make_reachable
from startup.privileges import MODE, check_access, drop_privileges, enter, prepare
from startup.service_user import (
    CAPABILITY_VERSION,
    IOCTL,
    ServiceUser,
    StartError,
    acting_as,
    become,
    check,
    find_user,
    libc,
)
from tests.engine_root import ENGINE_ROOT, VARIABLE
from tests.instance import ROOT, Instance, send, watch

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give anything up")


@pytest.fixture(scope="module")
def user() -> ServiceUser:
    return find_user("slipway")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def in_child(act: Callable[[], object]) -> str:
    """What it returned or raised, in a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = str(act())
        except BaseException as problem:  # noqa: BLE001  (the parent looks at it)
            said = f"{type(problem).__name__}: {problem}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def family(pid: int) -> Iterator[int]:
    """A process and all that came from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def test_no_process_of_a_running_instance_is_root_or_can_become_it(data_dir: Path) -> None:
    with Instance(data_dir, engine="scripted") as instance:
        assert instance.process is not None
        seen = [status_of(pid) for pid in family(instance.process.pid)]
        assert len(seen) > 1  # the registry is a child
        own = find_user("slipway")
        for status in seen:
            assert status["Uid"].split() == [str(own.uid)] * 4
            assert status["Gid"].split() == [str(own.gid)] * 4
            assert "0" not in status["Groups"].split()
            assert status["NoNewPrivs"] == "1"
        first = seen[0]
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(first[name], 16) == 0


def test_files_of_an_instance_are_for_its_user_alone(data_dir: Path, user: ServiceUser) -> None:
    with Instance(data_dir, engine="scripted"):
        for path in data_dir.rglob("*"):
            about = path.lstat()
            assert about.st_uid == user.uid, path
            if not stat.S_ISSOCK(about.st_mode):
                assert not about.st_mode & 0o077, path


def test_a_checkout_and_its_data_may_lie_below_closed_folders(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    checkout = closed / "deep" / "slipway"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    # The interpreter finds its packages by this link, as it does in the checkout.
    (checkout / ".venv").symlink_to(Path(sys.prefix).resolve())
    inner = checkout / "private"
    inner.mkdir()
    (closed / "neighbour").write_text("not for Slipway")
    for folder in (inner, closed / "deep", closed, checkout):
        folder.chmod(0o700)

    instance = Instance(inner / "data", engine="scripted")
    environment = {**instance.environment, "PYTHONDONTWRITEBYTECODE": "1"}
    said = subprocess.run(
        [str(checkout / ".venv/bin/python"), "manage.py", "shell", "-c", LOOK],
        cwd=checkout, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1].split() == [
        "slipway",
        str(checkout / "config"),
        "unseen",
        str(checkout),
    ]
    # Nothing of it is seen by anybody else.
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert str(closed) not in Path("/proc/self/mountinfo").read_text()


LOOK = """
import os, pwd, config
from pathlib import Path
from django.conf import settings
neighbour = Path(config.__file__).parents[3] / "neighbour"
(settings.DATA_DIR / "written").write_text("x")
print(pwd.getpwuid(os.geteuid()).pw_name, Path(config.__file__).parent,
      "seen" if neighbour.exists() else "unseen", os.getcwd())
"""


def test_an_instance_that_ran_as_root_is_handed_over_once(
    data_dir: Path, tmp_path: Path, user: ServiceUser
) -> None:
    with Instance(data_dir, engine="scripted"):
        pass
    for path in [data_dir, *data_dir.rglob("*")]:
        os.chown(path, 0, 0, follow_symlinks=False)
    data_dir.chmod(0o700)
    # What root must not give away: what links name, what has a second name, and what is its own.
    target, named_twice = tmp_path / "target", tmp_path / "twice"
    target.write_text("root's")
    named_twice.write_text("root's")
    (data_dir / "files").mkdir(exist_ok=True)
    (data_dir / "files" / "link").symlink_to(target)
    (data_dir / "spool" / "folder").symlink_to(tmp_path)
    (data_dir / "files" / "twice").hardlink_to(named_twice)
    (data_dir / "engine-root").mkdir()
    (data_dir / "helper").mkdir()
    (data_dir / "engine" / "stores").mkdir(parents=True)

    with Instance(data_dir, engine="scripted") as after:
        assert httpx.get(f"{after.url}/readyz", trust_env=False).status_code == 200
    for path in (target, named_twice, tmp_path, data_dir / "engine-root", data_dir / "helper"):
        assert path.stat().st_uid == 0, path
    for path in (data_dir / "secret_key", data_dir / "files", data_dir / "slipway.sqlite3"):
        assert path.stat().st_uid == user.uid, path
    # Caches of builds by the former engine, which any of them could have filled with links.
    assert not (data_dir / "engine" / "stores").exists()


def test_the_service_user_cannot_put_its_own_engine_root_in_place(
    data_dir: Path, user: ServiceUser, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        if parent != Path("/tmp"):
            parent.chmod(0o755)
    prepare(data_dir, user)
    (data_dir / "engine-root").mkdir()
    assert stat.S_IMODE(data_dir.stat().st_mode) == MODE
    with acting_as(user):
        (data_dir / "own").mkdir()
        (data_dir / "own").rename(data_dir / "renamed")
        for act in (
            lambda: (data_dir / "engine-root").rename(data_dir / "away"),
            (data_dir / "engine-root").rmdir,
            (data_dir / "engine-root" / "mine").mkdir,
            lambda: data_dir.chmod(0o777),
        ):
            with pytest.raises(PermissionError):
                act()


def test_a_folder_that_holds_other_things_is_not_taken(data_dir: Path, user: ServiceUser) -> None:
    data_dir.mkdir(mode=0o755)
    (data_dir / "letters").mkdir()
    with pytest.raises(StartError, match="holds other things"):
        prepare(data_dir, user)
    assert (data_dir.stat().st_uid, stat.S_IMODE(data_dir.stat().st_mode)) == (0, 0o755)


def test_the_data_of_a_plain_user_are_not_taken(data_dir: Path, user: ServiceUser) -> None:
    (data_dir / "files").mkdir(parents=True)
    os.chown(data_dir / "files", 65534, 65534)
    with pytest.raises(StartError, match="belongs to the user with the id 65534"):
        prepare(data_dir, user)


@pytest.mark.parametrize(
    ("name", "said"), [("root", "unprivileged user only"), ("nobody-there", "there is no user")]
)
def test_a_user_that_is_none_is_refused(name: str, said: str, data_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "SLIPWAY_DATA_DIR": str(data_dir), "SLIPWAY_USER": name},
    )  # fmt: skip
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not data_dir.exists()


def test_code_that_its_user_cannot_read_is_named(
    data_dir: Path, user: ServiceUser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "checkout"
    (secret / "config").mkdir(parents=True)
    (secret / "manage.py").touch(mode=0o600)
    monkeypatch.setattr("startup.privileges.CHECKOUT", secret)
    monkeypatch.setenv("SLIPWAY_DATA_DIR", str(data_dir))
    monkeypatch.setenv("SLIPWAY_ENGINE", "scripted")
    said = in_child(lambda: drop_privileges(["up"]))
    assert said.startswith("StartError: slipway, the user that Slipway runs as, cannot read")
    assert "chmod -R a+rX" in said


@pytest.mark.parametrize("command", ["makemigrations", "check", "--version", ""])
def test_commands_that_touch_no_instance_stay_as_they_are(command: str, data_dir: Path) -> None:
    def uid() -> int:
        drop_privileges([command] if command else [])
        return os.geteuid()

    assert in_child(uid) == "0"
    assert not data_dir.exists()


LISTEN = """
import os, socket, subprocess, sys
from startup.service_user import become, find_user, libc
libc.unshare(0x40000000)  # a network of its own
become(find_user("slipway"), low_ports=sys.argv[1] == "yes")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 80))
status = subprocess.run(["grep", "CapEff", "/proc/self/status"], capture_output=True, text=True)
print(int(status.stdout.split()[1], 16))
"""


@pytest.mark.parametrize("low", ["yes", "no"])
def test_a_port_below_1024_can_be_listened_on_by_slipway_alone(low: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTEN, low], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if low == "yes":
        assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    else:
        assert "PermissionError" in done.stderr


def test_a_build_of_an_instance_started_as_root_is_pushed(data_dir: Path) -> None:
    instance = Instance(data_dir, engine="scripted")
    instance.start(example=True, first=True)
    try:
        with instance.client() as client:
            assert watch(client, "hello")[1] == "built and pushed"
    finally:
        instance.stop()


SLOW = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sleep", "120"]
"""


@pytest.mark.engine
def test_while_a_build_runs_the_helper_is_the_only_process_of_root(data_dir: Path) -> None:
    context = io.BytesIO()
    with ZipFile(context, "w") as archive:
        archive.write(ENGINE_ROOT.find() / BUSYBOX, "busybox")
    with (
        Instance(data_dir, engine=load({}).engine) as instance,
        instance.client() as client,
    ):
        image = send(client, SLOW, context.getvalue())["image_id"]
        while not any(b"sleep\x00120" in command_line(pid) for pid in family(instance.pid)):
            assert "error" not in client.get(f"/images/{image}").json()["status"]
            time.sleep(0.1)
        of_root = [pid for pid in family(instance.pid) if status_of(pid)["Uid"].split()[0] == "0"]
        assert len(of_root) == 1
        assert b"helper/__main__.py" in command_line(of_root[0])
        client.post(f"/images/{image}/cancel").raise_for_status()


def command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


TYPE = """
import fcntl, os
from startup.service_user import TIOCSTI, become, find_user
fcntl.ioctl(0, TIOCSTI, b"a")
print("as root: typed")
become(find_user("slipway"), low_ports=False)
try:
    fcntl.ioctl(0, TIOCSTI, b"b")
except PermissionError:
    print("as slipway: refused")
fcntl.ioctl(0, 0x5413, bytes(8))
print("as slipway: size")
"""


@pytest.mark.skipif(platform.machine() not in IOCTL, reason="no filter for this machine")
def test_nothing_is_typed_into_the_terminal_that_slipway_was_started_from() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", TYPE])
    said = b""
    with suppress(OSError):  # at its end
        while data := os.read(terminal, 4096):
            said += data
    os.waitpid(pid, 0)
    os.close(terminal)
    for line in ("as root: typed", "as slipway: refused", "as slipway: size"):
        assert line in said.decode()


def test_folders_that_cannot_be_shown_are_named(tmp_path: Path, user: ServiceUser) -> None:
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0o700)

    def show_without_the_right_to_mount() -> None:
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
        kept = int(status_of(os.getpid())["CapPrm"], 16) & ~(1 << 21)  # CAP_SYS_ADMIN
        low, high = kept & 0xFFFFFFFF, kept >> 32
        data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
        check(libc.capset(header, data))
        make_reachable([closed / "data"], user)

    said = in_child(show_without_the_right_to_mount)
    assert said.startswith("StartError: slipway cannot reach")
    assert "chmod a+x" in said
    assert in_child(lambda: make_reachable([closed / "data"], user)) == "None"


def test_more_closed_folders_than_are_looked_for_are_refused(
    tmp_path: Path, user: ServiceUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "outer/shown/inner"
    (inner / "data").mkdir(parents=True)
    for folder in (outer, inner):
        folder.chmod(0o700)
    wanted = [outer / "shown", inner / "data"]
    assert in_child(lambda: make_reachable(wanted, user)) == "None"
    monkeypatch.setattr("startup.private_mounts.LEVELS", 1)
    said = in_child(lambda: make_reachable(wanted, user))
    assert said.startswith("StartError: too many closed folders")


def test_a_data_directory_that_cannot_be_made_or_written_is_refused(
    data_dir: Path, user: ServiceUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir.parent / "file").touch()
    with pytest.raises(StartError, match="SLIPWAY_DATA_DIR: cannot make"):
        prepare(data_dir.parent / "file" / "data", user)
    data_dir.mkdir(mode=0o755)

    def look() -> None:
        make_reachable([data_dir, ROOT, Path(sys.prefix), Path(sys.base_prefix)], user)
        check_access(data_dir, user)

    assert in_child(look) == f"StartError: SLIPWAY_DATA_DIR: slipway cannot write in {data_dir}"
    prepare(data_dir, user)
    assert in_child(look) == "None"
    data_dir.chmod(0o755)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    with pytest.raises(StartError, match=r"cannot hand .* to slipway"):
        prepare(data_dir, user)


def managed(data_dir: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "SLIPWAY_DATA_DIR": str(data_dir),
            VARIABLE: str(ENGINE_ROOT.path),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_helper_that_does_not_start_ends_the_start(data_dir: Path, user: ServiceUser) -> None:
    prepare(data_dir, user)
    (data_dir / "helper").mkdir(mode=0o755)
    with managed(data_dir, "up") as process:
        said, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "the helper that starts builds does not start" in said
    assert "must belong to its user" in said


def test_a_helper_of_its_own_serves_workers_that_root_did_not_start(
    data_dir: Path, user: ServiceUser
) -> None:
    with managed(data_dir, "helper") as process:
        try:
            while not (data_dir / "run/helper.sock").exists():
                assert process.poll() is None
                time.sleep(0.05)
            assert status_of(process.pid)["Uid"].split()[0] == "0"
            before = set(family(process.pid))

            def use_it() -> str:
                os.environ["SLIPWAY_DATA_DIR"] = str(data_dir)
                os.environ[VARIABLE] = str(ENGINE_ROOT.path)
                make_reachable([data_dir], user)
                become(user, low_ports=False)
                enter(building=True)
                return Helper(data_dir / "run/helper.sock").info().limits and "it has limits"

            assert in_child(use_it) == "it has limits"
            assert set(family(process.pid)) == before
        finally:
            process.terminate()
            process.wait(60)


def test_a_worker_without_redis_is_refused(data_dir: Path) -> None:
    with managed(data_dir, "worker", SLIPWAY_ENGINE="scripted") as process:
        said, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "REDIS_URL is not set" in said
