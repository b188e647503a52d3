"""What engine tests need: a registry with a base image, a helper, an engine, and build specs."""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from builds import dockerfile
from builds.build_spec import (
    BuildEvent,
    BuildOutcome,
    BuildSpec,
    Limits,
    StepOutput,
    StepState,
    StepUpdate,
)
from builds.dockerfile.platforms import this_platform
from builds.engines.base import BuildEngine, BuildFailed
from builds.engines.buildkit import BuildKitEngine
from builds.engines.sandbox.layout import write_layout
from builds.engines.sandbox.settings import EngineSettings
from builds.engines.scripted import ScriptedEngine
from builds.process import run
from helper.start import start_helper
from tests.builds.engines.busybox import busybox_layer
from tests.engine_root import ENGINE_ROOT
from tests.registry import running_registry

OWNER = UUID("00000000-0000-4000-8000-00000000000a")
STRANGER = UUID("00000000-0000-4000-8000-00000000000b")
ROOMY = Limits(memory_bytes=1 << 30, pids=2_000, cpus=2.0, disk_bytes=4 << 30)
NOTHING = BuildOutcome(layout=Path("/nowhere"), digest="", size_bytes=0)


@dataclass
class Ran:
    """What one build wrote and how it ended."""

    outcome: BuildOutcome = NOTHING
    stdout: bytes = b""
    stderr: bytes = b""
    states: list[tuple[int, StepState]] = field(default_factory=list)
    outputs: list[StepOutput] = field(default_factory=list)

    @property
    def said(self) -> str:
        return (self.stdout + self.stderr).decode(errors="replace")

    def take(self, event: BuildEvent) -> None:
        if isinstance(event, StepUpdate):
            self.states.append((event.step, event.state))
            return
        if event.data:
            self.outputs.append(event)
        if event.stream == "stdout":
            self.stdout += event.data
        else:
            self.stderr += event.data


Build = Generator[BuildEvent, None, BuildOutcome]


def drive(build: Build, ran: Ran | None = None) -> Ran:
    """Run a build to its end; what it wrote is in `ran` even when it raises."""
    ran = ran or Ran()
    while True:
        try:
            ran.take(next(build))
        except StopIteration as end:
            ran.outcome = end.value
            return ran


def listen(build: Build, line: bytes) -> None:
    """Drive a build until it has written that line."""
    said = b""
    while line not in said.splitlines():
        event = next(build)
        if isinstance(event, StepOutput):
            said += event.data


@dataclass
class Workshop:
    """An engine and a place for its attempts; it discards them all when it is done."""

    engine: BuildEngine
    folder: Path
    base: str = "scratch"
    specs: list[BuildSpec] = field(default_factory=list)

    def spec(
        self,
        text: str,
        *,
        owner: UUID = OWNER,
        files: Mapping[str, str | bytes] | None = None,
        network: bool = False,
        limits: Limits = ROOMY,
        build_args: dict[str, str] | None = None,
        target: str = "",
        no_cache: bool = False,
        pull: bool = False,
        labels: dict[str, str] | None = None,
    ) -> BuildSpec:
        """A spec for `text`; BASE in it is the base image, ONCE misses the cache."""
        build_id = uuid4()
        work = self.folder / "work" / str(build_id)
        context = self.folder / "contexts" / str(build_id)
        work.mkdir(parents=True)
        context.mkdir(parents=True)
        for name, content in (files or {}).items():
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        text = text.replace("BASE", self.base).replace("ONCE", f": {build_id}")
        spec = BuildSpec(
            build_id=build_id,
            owner_id=owner,
            label="owner/app:latest",
            context=context,
            dockerfile=dockerfile.read(text, build_args=build_args or {}, target=target),
            build_args=tuple((build_args or {}).items()),
            target=target,
            no_cache=no_cache,
            pull=pull,
            labels=tuple((labels or {}).items()),
            network=network,
            limits=limits,
            work=work,
        )
        self.specs.append(spec)
        return spec

    def build(self, spec: BuildSpec) -> Ran:
        return drive(self.engine.build(spec))

    def run(self, text: str, **options: object) -> Ran:
        return self.build(self.spec(text, **options))  # type: ignore[arg-type]

    def fails(self, text: str, **options: object) -> tuple[BuildFailed, Ran]:
        """Build what must not become an image."""
        ran = Ran()
        with pytest.raises(BuildFailed) as failed:
            drive(self.engine.build(self.spec(text, **options)), ran)  # type: ignore[arg-type]
        assert "\n" not in failed.value.text
        return failed.value, ran

    def again(self, spec: BuildSpec) -> BuildSpec:
        """The same spec as a new attempt."""
        build_id = uuid4()
        work = self.folder / "work" / str(build_id)
        work.mkdir(parents=True)
        new = replace(spec, build_id=build_id, work=work)
        self.specs.append(new)
        return new

    def clear(self) -> None:
        for spec in self.specs:
            self.engine.discard(spec)


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
def helper_socket(hidden: Path) -> Iterator[Path]:
    helper = start_helper(hidden, ENGINE_ROOT.find())
    yield helper.socket
    for engine in _ENGINES.values():
        engine.close()
    with suppress(ProcessLookupError):
        helper.stop()


@pytest.fixture(scope="session")
def settings(hidden: Path, registry: str, helper_socket: Path) -> EngineSettings:
    root = hidden / "engine"
    root.mkdir(exist_ok=True)
    return EngineSettings(
        root=root,
        engine_root=ENGINE_ROOT.find(),
        helper_socket=helper_socket,
        insecure_registries=frozenset({registry}),
        private_registries=frozenset({registry}),
    )


@pytest.fixture(scope="session")
def base(hidden: Path, registry: str) -> str:
    """An image of a static busybox, with a link for each of its commands, in the registry."""
    config = {
        "architecture": this_platform().split("/")[1],
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
    }
    layer, diff_id = busybox_layer()
    config["rootfs"] = {"type": "layers", "diff_ids": [diff_id]}
    outcome = write_layout(hidden / "base", config=config, layers=[layer])
    reference = f"{registry}/base/busybox:latest"
    push(outcome, reference)
    return reference


def push(outcome: BuildOutcome, reference: str) -> None:
    command = ENGINE_ROOT.command(
        "skopeo",
        *("--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"),
        *(f"oci:{outcome.layout}", f"docker://{reference}"),
        readable=[outcome.layout],
        network=True,
    )
    run(command, deadline=60)


@pytest.fixture
def workshop(settings: EngineSettings, hidden: Path, base: str) -> Iterator[Workshop]:
    """The real engine."""
    workshop = Workshop(engine=engine_of(settings), folder=hidden / "attempts", base=base)
    yield workshop
    workshop.clear()


_ENGINES: dict[EngineSettings, BuildKitEngine] = {}


def engine_of(settings: EngineSettings) -> BuildKitEngine:
    """One per settings and process, so that its builders stay warm from test to test."""
    return _ENGINES.setdefault(settings, BuildKitEngine(settings))


@pytest.fixture
def scripted(tmp_path: Path) -> Workshop:
    return Workshop(engine=ScriptedEngine(), folder=tmp_path)


@pytest.fixture
def tuned(settings: EngineSettings) -> Iterator[Callable[..., BuildKitEngine]]:
    """The real engine with other settings on the same folders."""
    made: list[BuildKitEngine] = []

    def tune(**changes: object) -> BuildKitEngine:
        made.append(BuildKitEngine(replace(settings, **changes)))  # type: ignore[arg-type]
        return made[-1]

    yield tune
    for engine in made:
        engine.close()
