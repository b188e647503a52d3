"""Builds that try to get out see nothing of the host, beside controls that reach the target.

The sandbox itself (links in the cache, ids, limits, kernel features) is attacked in tests/helper.
"""

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from builds.build_spec import StepOutput
from builds.dockerfile import DockerfileRefused
from builds.engines.base import BuildFailed, EngineError
from builds.engines.buildkit import BuildKitEngine, backlog
from builds.engines.buildkit.engine import OUTPUT_LOST
from builds.engines.sandbox.settings import EngineSettings
from builds.process import CLEAN_ENV, run, start
from tests.builds.engines.conftest import Ran, Workshop, drive, listen
from tests.builds.engines.island import serve
from tests.helper.running import SYSTEM_PYTHON, as_plain_user, running_helper

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="the controls need root"),
]

SECRET = "planted-9d1c6a"


@pytest.fixture(scope="module")
def plain_helper() -> Iterator[Path]:
    """The socket of a helper that an ordinary user has started, so without limits and images."""
    with tempfile.TemporaryDirectory(prefix="slipway-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        data_dir, engine_root = folder / "data", folder / "engine-root"
        prefix = as_plain_user(data_dir, engine_root)
        with running_helper(
            data_dir, prefix=prefix, python=SYSTEM_PYTHON, engine_root=engine_root
        ) as running:
            assert not running.client.info().root
            yield running.socket


@pytest.fixture(params=["root", pytest.param("plain user", marks=pytest.mark.long)])
def workshop(
    request: pytest.FixtureRequest, workshop: Workshop, tuned: Callable[..., BuildKitEngine]
) -> Workshop:
    """Builders of a helper of each kind."""
    if request.param == "plain user":
        socket = request.getfixturevalue("plain_helper")
        workshop.engine = tuned(helper_socket=socket)
    return workshop


UP = "../" * 24
READ = f"RUN {{mount}} ONCE; cat /m/secret; echo {SECRET[::-1]} > /m/written || true\n"


@dataclass(frozen=True)
class Escape:
    """A Dockerfile that tries to show a folder of the host, and what its context needs."""

    dockerfile: Callable[[Path], str]
    link: bool = False


ESCAPES = {
    "a link in the context": Escape(
        lambda _: "FROM BASE\n" + READ.format(mount="--mount=type=bind,rw,source=link,target=/m"),
        link=True,
    ),
    "a copied link": Escape(
        lambda _: "FROM BASE\nCOPY link/ /m/\nRUN ONCE; cat /m/secret\n", link=True
    ),
    "a link in a stage": Escape(
        lambda target: (
            f"FROM BASE AS s\nRUN ln -s {target} /link\nFROM BASE\n"
            + READ.format(mount="--mount=type=bind,rw,from=s,source=/link,target=/m")
        )
    ),
    "a copied link of a stage": Escape(
        lambda target: (
            f"FROM BASE AS s\nRUN ln -s {target} /link\nFROM BASE\n"
            "COPY --from=s /link/ /m/\nRUN ONCE; cat /m/secret\n"
        )
    ),
    "a cache id that climbs": Escape(
        lambda target: (
            "FROM BASE\n"
            + READ.format(mount=f"--mount=type=cache,id={UP}{str(target).lstrip('/')},target=/m")
        )
    ),
    "a cache source that climbs": Escape(
        lambda target: (
            "FROM BASE\n" + READ.format(mount=f"--mount=type=cache,source={UP}{target},target=/m")
        )
    ),
    "a bind source that climbs": Escape(
        lambda target: (
            "FROM BASE\n" + READ.format(mount=f"--mount=type=bind,source={UP}{target},target=/m")
        )
    ),
    "a copy that climbs": Escape(
        lambda target: f"FROM BASE\nCOPY {UP}{target} /m/\nRUN ONCE; cat /m/secret\n"
    ),
    "a target that climbs": Escape(
        lambda target: (
            "FROM BASE\n"
            + READ.format(mount=f"--mount=type=bind,source=/,target=/m{UP}{target},rw")
        )
    ),
    "a working directory that climbs": Escape(
        lambda target: f"FROM BASE\nWORKDIR /{UP}{target}\nRUN ONCE; cat secret; echo x >written\n"
    ),
    "a volume over the daemon's folders": Escape(
        lambda target: f"FROM BASE\nVOLUME /b/owner\nRUN ONCE; cat /b/*/secret {target}/secret\n"
    ),
}


@pytest.fixture(params=["0600 of root", "readable by all", "of the engine's folder"])
def planted(
    request: pytest.FixtureRequest, tmp_path: Path, settings: EngineSettings
) -> Iterator[Path]:
    folder = tmp_path / "planted"
    if request.param == "of the engine's folder":
        folder = settings.root / "outputs/planted"
    folder.mkdir(parents=True)
    secret = folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600 if request.param == "0600 of root" else 0o644)
    folder.chmod(0o755)
    yield folder
    run(["rm", "-rf", folder], deadline=5)


def said(workshop: Workshop, dockerfile: str, link: Path | None = None, **options: object) -> str:
    spec = workshop.spec(dockerfile, **options)  # type: ignore[arg-type]
    if link is not None:
        (spec.context / "link").symlink_to(link)
    ran = Ran()
    with suppress(EngineError):
        drive(workshop.engine.build(spec), ran)
    return ran.said


@pytest.mark.parametrize("name", ESCAPES)
def test_a_build_that_names_a_folder_of_the_host_sees_nothing_of_it(
    workshop: Workshop, planted: Path, name: str
) -> None:
    escape = ESCAPES[name]
    output = said(workshop, escape.dockerfile(planted), planted if escape.link else None)
    assert SECRET not in output
    assert not (planted / "written").exists()
    # The control: the same folder is there for whoever is outside.
    assert SECRET in run(["cat", planted / "secret"], deadline=5).stdout.decode()


@pytest.mark.parametrize(
    "reference",
    ["oci:/b/bases/0", "dir:/etc", "docker-archive:/x.tar", "/etc", "../x", "containers-storage:x"],
)
def test_a_base_that_is_no_image_in_a_registry_is_refused(
    workshop: Workshop, reference: str
) -> None:
    with pytest.raises(DockerfileRefused, match="line 1"):
        workshop.spec(f"FROM {reference}\nRUN true\n")


def test_adding_from_a_loopback_service_fetches_nothing(workshop: Workshop) -> None:
    port = serve(0)
    dockerfile = f"FROM BASE\nADD http://127.0.0.1:{port}/x /x\nRUN ONCE; cat /x\n"
    assert "reached" not in said(workshop, dockerfile, network=True)
    control = run(["curl", "-s", f"http://127.0.0.1:{port}/x"], deadline=5).stdout
    assert b"reached" in control


def test_a_frontend_is_never_fetched_nor_run(workshop: Workshop) -> None:
    for first in (
        "# syntax=evil/frontend:1",
        "#SYNTAX = evil/frontend",
        "# escape=`\n# syntax=x/y",
    ):
        ran = workshop.run(f"{first}\nFROM BASE\nRUN ONCE; echo built\n")
        assert b"built\n" in ran.stdout
    for name in ("BUILDKIT_SYNTAX", "BUILDKIT_DOCKERFILE_CHECK"):
        spec = workshop.spec("FROM BASE\nRUN ONCE; echo built\n")
        hostile = replace(spec, build_args=((name, "evil/frontend:1"),))
        ran = Ran()
        # The API and the worker refuse it before; the builder's policy would, too.
        with suppress(BuildFailed):
            drive(workshop.engine.build(hostile), ran)
        assert b"evil" not in ran.stdout


@contextmanager
def neighbour() -> Iterator[int]:
    """A process of Slipway's own user with a secret in its environment."""
    with start(["sleep", "120"], env=CLEAN_ENV | {"PLANTED": SECRET}) as child:
        while b"sleep" not in Path(f"/proc/{child.pid}/cmdline").read_bytes().split(b"\0")[0]:
            time.sleep(0.01)
        yield child.pid


LOOK_AROUND = "tr '\\0' '\\n' </proc/{pid}/environ; cat /proc/*/environ; kill -9 {pid}; true"


def test_run_sees_no_process_but_its_own(workshop: Workshop) -> None:
    with neighbour() as pid:
        look = LOOK_AROUND.format(pid=pid)
        output = said(
            workshop, f"FROM BASE\nRUN ONCE; {look}; echo; echo processes $(ls -d /proc/[0-9]*)\n"
        )
        assert SECRET not in output
        listed = next(line for line in output.splitlines() if line.startswith("processes "))
        assert len(listed.split()) < 6
        alike = run(["sh", "-c", look], deadline=10, check=False)
        assert SECRET in alike.stdout.decode()


POWERS = """
mount -t tmpfs x /mnt && echo got-mount
mount -o remount,rw /proc/sys && echo got-remount
unshare -U true && echo got-userns
unshare -m true && echo got-mountns
mknod /dev/x b 7 0 && dd if=/dev/x bs=1 count=1 && echo got-device
echo 1 >/proc/sys/kernel/panic && echo got-sysctl
chroot /proc/1/root true && echo got-chroot-out && cat /b/owner/data/x
date -s 2020-01-01 >/dev/null; date +%Y | grep -q 2020 && echo got-clock
ip route add default dev lo && echo got-route
ip link add d type dummy && echo got-link
for f in $(find /sys/fs/cgroup -name cgroup.procs); do echo $$ >$f && echo got-$f; done
[ -n "$(head -c 1 /proc/kcore)" ] && echo got-kcore
cat /proc/sys/kernel/ns_last_pid >/dev/null; echo tried
"""


def test_run_has_no_more_power_than_in_docker(workshop: Workshop) -> None:
    script = POWERS.strip().replace("\n", "; ")
    output = said(workshop, f"FROM BASE\nRUN ONCE; ({script}) 2>/dev/null\n", network=True)
    assert "tried" in output
    assert re.findall(r"^got-(?!chroot-out)\S+", output, re.MULTILINE) == []


def test_one_owner_reaches_nothing_of_another(workshop: Workshop) -> None:
    first, second = uuid4(), uuid4()
    writes = f"FROM BASE\nRUN --mount=type=cache,id=shared,target=/c ONCE; echo {SECRET} >/c/x\n"
    reads = (
        "FROM BASE\nRUN --mount=type=cache,id=shared,target=/c ONCE; cat /c/x; "
        "grep -r planted /b /run /tmp /var 2>/dev/null; true\n"
    )
    workshop.run(writes, owner=first)
    assert SECRET not in said(workshop, reads, owner=second)
    assert SECRET in said(workshop, reads, owner=first)


def test_a_flood_of_output_is_taken_as_it_comes(workshop: Workshop) -> None:
    """60 MB, in lines and in one line, while the worker holds little of it.

    A machine that is busy may not take the end in the 3 s that the client waits: it is told then.
    """
    lines = 0
    largest = 0
    lost = False
    spec = workshop.spec(
        "FROM BASE\nRUN ONCE; yes 0123456789012345678901234567890123456789 | head -n 700000; "
        "head -c 30000000 /dev/zero | tr '\\0' x\n"
    )
    total = 0
    for event in workshop.engine.build(spec):
        if isinstance(event, StepOutput) and event.step == 2:
            lines += event.data.count(b"\n")
            largest = max(largest, len(event.data))
            total += len(event.data)
        lost |= isinstance(event, StepOutput) and event.data == OUTPUT_LOST
    assert lines == 700_000
    assert total == 700_000 * 41 + 30_000_000 or (lost and total > 700_000 * 41)
    assert largest < 1 << 20


@pytest.mark.long
def test_output_that_the_client_throws_away_is_told_of_and_the_image_is_made(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the worker cannot take a flood for longer than the client waits for it."""
    monkeypatch.setattr(backlog.Backlog.__init__, "__defaults__", (1 << 16,))
    build = workshop.engine.build(
        workshop.spec("FROM BASE\nRUN ONCE; yes flood | head -n 3000000; echo last line\n")
    )
    listen(build, b"flood")
    time.sleep(8)  # the client gives up after 3 seconds, and nothing tells of it
    ran = drive(build)
    assert OUTPUT_LOST.decode() in ran.said
    assert "last line" not in ran.said
    assert ran.outcome.digest
