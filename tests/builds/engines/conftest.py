"""What engine tests stand on: a registry, a base image in it, an engine, and its orders."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from builds.build_spec import Base, BuildOutcome, BuildSpec, Dockerfile, Limits, Output
from builds.engines.base import BuildEngine
from builds.engines.buildah import BuildahEngine
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.scripted import ScriptedEngine
from builds.process import run
from tests.registry import running_registry

BUILD_USER = "slipway-build"
OWNER = UUID("00000000-0000-4000-8000-00000000000a")
STRANGER = UUID("00000000-0000-4000-8000-00000000000b")
BASE_DOCKERFILE = """FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
"""
ROOMY = Limits(memory_bytes=1 << 30, pids=2_000, cpus=2.0, disk_bytes=4 << 30)


@dataclass
class Ran:
    """What one build wrote and how it ended."""

    outcome: BuildOutcome
    stdout: bytes = b""
    stderr: bytes = b""


def drive(build: Generator[Output, None, BuildOutcome], ran: Ran | None = None) -> Ran:
    """Run a build to its end; what it wrote is in `ran` even when it raises."""
    ran = ran or Ran(outcome=NOTHING)
    while True:
        try:
            stream, data = next(build)
        except StopIteration as end:
            ran.outcome = end.value
            return ran
        if stream == "stdout":
            ran.stdout += data
        else:
            ran.stderr += data


def listen(build: Generator[Output, None, BuildOutcome], line: bytes) -> None:
    """Drive a build until it has written that line."""
    while line not in next(build)[1].splitlines():
        pass


NOTHING = BuildOutcome(layout=Path("/nowhere"), digest="", size_bytes=0)


@dataclass
class Yard:
    """An engine and a place for its attempts; it discards them all when it is done."""

    engine: BuildEngine
    folder: Path
    base: str = "scratch"
    orders: list[BuildSpec] = field(default_factory=list)

    def order(
        self,
        dockerfile: str,
        *,
        owner: UUID = OWNER,
        files: dict[str, str] | None = None,
        network: bool = False,
        limits: Limits = ROOMY,
        build_args: tuple[tuple[str, str], ...] = (),
        bases: tuple[str, ...] | None = None,
    ) -> BuildSpec:
        """An order for `dockerfile`; BASE in it is the base image, ONCE misses the cache."""
        if bases is None:
            bases = (self.base,) if "BASE" in dockerfile else ()
        build_id = uuid4()
        work = self.folder / "work" / str(build_id)
        context = self.folder / "contexts" / str(build_id)
        work.mkdir(parents=True)
        context.mkdir(parents=True)
        for name, text in (files or {}).items():
            (context / name).write_text(text)
        order = BuildSpec(
            build_id=build_id,
            owner_id=owner,
            label="owner/app:latest",
            context=context,
            dockerfile=Dockerfile(
                text=dockerfile.replace("BASE", self.base).replace("ONCE", f": {build_id}"),
                bases=tuple(
                    Base(context=base, reference=base, platform="linux/amd64", line=1)
                    for base in bases
                ),
                shared={},
                written={},
            ),
            build_args=build_args,
            network=network,
            limits=limits,
            work=work,
        )
        self.orders.append(order)
        return order

    def build(self, order: BuildSpec) -> Ran:
        return drive(self.engine.build(order))

    def again(self, order: BuildSpec) -> BuildSpec:
        """The same order as a new attempt."""
        bases = tuple(base.reference for base in order.dockerfile.bases)
        return self.order(order.dockerfile.text, owner=order.owner_id, bases=bases)

    def clear(self) -> None:
        for order in self.orders:
            self.engine.discard(order)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="session")
def hidden() -> Iterator[Path]:
    """A folder that only Slipway may enter, as its data folder may be."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-test-", dir=Path.home()))
    folder.chmod(0o700)
    yield folder
    shutil.rmtree(folder, ignore_errors=os.geteuid() != 0)


@pytest.fixture(scope="session")
def build_user() -> str:
    name = BUILD_USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    assert name in {entry.pw_name for entry in pwd.getpwall()}, "run deploy/machine.sh first"
    return name


@pytest.fixture(scope="session")
def settings(hidden: Path, build_user: str, registry: str) -> EngineSettings:
    return EngineSettings(
        root=hidden / "engine",
        build_user=build_user,
        insecure_registries=frozenset({registry}),
    )


@pytest.fixture(scope="session")
def base(settings: EngineSettings, hidden: Path, registry: str) -> str:
    """A busybox image in the registry, made by the engine from the host's static busybox."""
    yard = Yard(engine=BuildahEngine(settings), folder=hidden / "base")
    order = yard.order(BASE_DOCKERFILE)
    shutil.copy("/usr/bin/busybox", order.context / "busybox")
    outcome = yard.build(order).outcome
    reference = f"{registry}/base/busybox:latest"
    push(outcome, reference)
    yard.clear()
    return reference


def push(outcome: BuildOutcome, reference: str) -> None:
    run(
        [
            *("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"),
            *(f"oci:{outcome.layout}", f"docker://{reference}"),
        ],
        deadline=60,
    )


@pytest.fixture
def yard(settings: EngineSettings, hidden: Path, base: str) -> Iterator[Yard]:
    """The real engine."""
    yard = Yard(engine=BuildahEngine(settings), folder=hidden / "attempts", base=base)
    yield yard
    yard.clear()


@pytest.fixture
def scripted(tmp_path: Path) -> Yard:
    return Yard(engine=ScriptedEngine(), folder=tmp_path)


@pytest.fixture
def tuned(settings: EngineSettings) -> Callable[..., BuildahEngine]:
    """The real engine with other settings on the same stores."""
    return lambda **changes: BuildahEngine(replace(settings, **changes))
