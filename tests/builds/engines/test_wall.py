"""Known escapes of the engine see nothing of the host: each beside a control without the wall.

A control is the same attempt by a plain root buildah (or a plain command): it must reach its
target, or the probe proves nothing.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from builds.engines.base import EngineError
from builds.engines.sandbox.etc import write_etc
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.sandbox.wall import Room, Wall
from builds.process import CLEAN_ENV, run, start
from tests.builds.engines.conftest import NOTHING, STRANGER, Ran, Yard, drive
from tests.builds.engines.island import serve

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="the controls need root"),
]

SECRET = "planted-9d1c6a"
UP = "../" * 24
READ = f"RUN {{mount}} ONCE; cat /m/secret; echo {SECRET[::-1]} > /m/written || true\n"


@dataclass(frozen=True)
class Escape:
    """A Dockerfile that mounts a host folder at /m, and what its context needs."""

    dockerfile: Callable[[Path], str]
    link: bool = False


ESCAPES = {
    "a link in the context": Escape(
        lambda _: "FROM BASE\n" + READ.format(mount="--mount=type=bind,rw,source=link,target=/m"),
        link=True,
    ),
    "a link in a stage": Escape(
        lambda target: (
            f"FROM BASE AS s\nRUN ln -s {target} /link\nFROM BASE\n"
            + READ.format(mount="--mount=type=bind,rw,from=s,source=/link,target=/m")
        )
    ),
    "a cache id that climbs": Escape(
        lambda target: (
            "FROM BASE\n"
            + READ.format(mount=f"--mount=type=cache,id={UP}{str(target).lstrip('/')},target=/m")
        )
    ),
}


@dataclass(frozen=True)
class Plain:
    """A root buildah as one would use it: the wall is off."""

    store: Path
    base: str

    def build(self, dockerfile: str, context: Path) -> str:
        (context / "Dockerfile").write_text(dockerfile.replace("ONCE", f": {time.time()}"))
        finished = run(
            [
                *("buildah", "--root", self.store / "root", "--runroot", self.store / "run"),
                *(
                    "--storage-driver",
                    "vfs",
                    "build",
                    "--isolation",
                    "chroot",
                    "--tls-verify=false",
                ),
                *("--signature-policy", self.store / "policy.json", context),
            ],
            deadline=60,
            check=False,
            env=CLEAN_ENV | {"TMPDIR": str(self.store / "tmp"), "HOME": str(self.store)},
        )
        return (finished.stdout + finished.stderr).decode(errors="replace")


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, base: str) -> Plain:
    store = tmp_path_factory.mktemp("plain")
    (store / "tmp").mkdir()
    (store / "policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    return Plain(store, base)


@pytest.fixture(params=["0600 of root", "readable by all", "another owner's"])
def planted(
    request: pytest.FixtureRequest, tmp_path: Path, settings: EngineSettings
) -> Iterator[Path]:
    folder = tmp_path / "planted"
    if request.param == "another owner's":
        folder = settings.root / "stores" / str(STRANGER) / "planted"
    folder.mkdir(parents=True)
    secret = folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600 if request.param == "0600 of root" else 0o644)
    folder.chmod(0o755)
    yield folder
    run(["rm", "-rf", folder], deadline=5)


def said(yard: Yard, dockerfile: str, link: Path | None = None) -> str:
    order = yard.order(dockerfile)
    if link is not None:
        (order.context / "link").symlink_to(link)
    ran = Ran(outcome=NOTHING)
    with suppress(EngineError):
        drive(yard.engine.build(order), ran)
    assert ran.stdout + ran.stderr
    return (ran.stdout + ran.stderr).decode(errors="replace")


@pytest.mark.parametrize("name", ESCAPES)
def test_a_mount_that_escapes_shows_nothing_of_the_host(
    yard: Yard, plain: Plain, planted: Path, tmp_path: Path, name: str
) -> None:
    escape = ESCAPES[name]
    dockerfile = escape.dockerfile(planted)
    assert SECRET not in said(yard, dockerfile, planted if escape.link else None)
    assert not (planted / "written").exists()

    context = tmp_path / "context"
    context.mkdir()
    if escape.link:
        (context / "link").symlink_to(planted)
    assert SECRET in plain.build(dockerfile.replace("BASE", plain.base), context)
    assert (planted / "written").exists()


@pytest.mark.parametrize("transport", ["oci", "dir"])
def test_a_base_that_names_a_host_folder_is_not_read(
    yard: Yard, plain: Plain, tmp_path: Path, transport: str
) -> None:
    image = tmp_path / "image"
    run(
        [
            *("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"),
            *(f"docker://{yard.base}", f"{transport}:{image}"),
        ],
        deadline=30,
    )
    dockerfile = f"FROM {transport}:{image}\nRUN ONCE; echo {SECRET[::-1]} | rev\n"
    assert SECRET not in said(yard, dockerfile)
    context = tmp_path / "context"
    context.mkdir()
    assert SECRET in plain.build(dockerfile, context)


def test_adding_from_a_loopback_service_fetches_nothing(
    yard: Yard, plain: Plain, tmp_path: Path
) -> None:
    port = serve(0)
    dockerfile = f"FROM BASE\nADD http://127.0.0.1:{port}/x /x\nRUN ONCE; cat /x\n"
    assert "\nreached" not in said(yard, dockerfile)
    context = tmp_path / "context"
    context.mkdir()
    assert "\nreached" in plain.build(dockerfile.replace("BASE", plain.base), context)


@contextmanager
def neighbour(user: str) -> Iterator[int]:
    """A process of the build user's with a secret in its environment."""
    with start(["sleep", "120"], user=user, env=CLEAN_ENV | {"PLANTED": SECRET}) as child:
        while b"sleep" not in Path(f"/proc/{child.pid}/cmdline").read_bytes().split(b"\0")[0]:
            time.sleep(0.01)
        yield child.pid


LOOK_AROUND = "tr '\\0' '\\n' </proc/{pid}/environ; cat /proc/*/environ; kill -9 {pid}; true"


def test_run_sees_no_process_of_its_own_user(yard: Yard, build_user: str) -> None:
    with neighbour(build_user) as pid:
        look = LOOK_AROUND.format(pid=pid)
        output = said(
            yard, f"FROM BASE\nRUN ONCE; {look}; echo; echo processes $(ls -d /proc/[0-9]*)\n"
        )
        assert SECRET not in output
        listed = next(line for line in output.splitlines() if line.startswith("processes "))
        assert len(listed.split()) < 6
        alike = run(["sh", "-c", look], deadline=10, user=build_user, check=False)
        assert SECRET in alike.stdout.decode()


BREAKOUT = """
cat {planted}/secret; ls {planted}; cat /proc/1/environ; cat /proc/1/root{planted}/secret
mount -o remount,rw /usr/bin; touch /usr/bin/written
mount -o remount,rw /b/context; touch /b/context/written
umount /etc; umount -l /b/context; cat /etc/shadow
ip route flush table main; ip route add default dev lo
chroot /proc/1/root cat {planted}/secret
nsenter --target 1 --mount --pid --net true && echo entered
mkdir -p /b/attempt/x; mount -t tmpfs x /b/attempt/x && echo mounts-of-its-own
cat /proc/self/status | grep NoNewPrivs
"""


def test_even_the_engines_own_place_has_no_way_out(
    settings: EngineSettings, planted: Path, tmp_path: Path
) -> None:
    """As if a RUN step had taken buildah over: root of the inner namespace, outside runc."""
    wall = Wall(settings)
    behind, _ = write_etc(settings.root / "etc", settings)
    folders = {name: tmp_path / name for name in ("owner", "attempt", "bases", "context")}
    for folder in folders.values():
        folder.mkdir()
        os.chown(folder, wall.account.uid, wall.account.gid)
    room = Room(
        writable={name: folders[name] for name in ("owner", "attempt")},
        readable={name: folders[name] for name in ("bases", "context")},
        etc=behind,
    )
    script = BREAKOUT.format(planted=planted)
    with wall.enter(room, ["sh", "-c", script], network=False, env={"HOME": "/b"}) as child:
        output = b"".join(data for _, data in child.read()).decode()
    assert SECRET not in output
    assert "\nroot:" not in output
    assert "entered" not in output
    assert not (folders["context"] / "written").exists()
    # The script really ran, with the powers that it was meant to have.
    assert "mounts-of-its-own" in output
    assert "NoNewPrivs:\t1" in output
    assert SECRET in run(["sh", "-c", f"cat {planted}/secret"], deadline=5).stdout.decode()
