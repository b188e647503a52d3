"""Slipway's side: a case goes through the reader and the BuildKit engine, as users' builds do."""

import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from builds import dockerfile
from builds.build_options import OptionRefused, check_build_args, check_labels, check_target
from builds.build_spec import BuildEvent, BuildOutcome, BuildSpec, Limits, StepOutput
from builds.engines.base import BuildFailed
from builds.engines.buildkit import BuildKitEngine
from builds.engines.sandbox.settings import EngineSettings
from builds.process import run
from helper.start import start_helper
from tests.conformance.bases import base_images, write_layout
from tests.conformance.case import Case, write_context
from tests.conformance.image import read_image
from tests.conformance.result import Result
from tests.engine_root import ENGINE_ROOT
from tests.registry import running_registry

OWNER = UUID("00000000-0000-4000-8000-00000000000c")
LIMITS = Limits(memory_bytes=2 << 30, pids=2_000, cpus=2.0, disk_bytes=4 << 30)
REFUSALS = (dockerfile.DockerfileRefused, OptionRefused, BuildFailed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slipway:
    """The engine with its registry of bases. `folder` holds one build at a time."""

    engine: BuildKitEngine
    folder: Path

    def build(self, case: Case) -> Result:
        """Build a case as the runner does."""
        output = bytearray()
        place = self.folder / str(uuid4())
        place.mkdir()
        try:
            spec = self._spec(case, place)
            outcome = _drive(self.engine.build(spec), output)
            return Result(image=read_image(outcome.layout), output=output.decode(errors="replace"))
        except REFUSALS as refusal:
            text = str(refusal)
            line = re.match(r"Dockerfile line (\d+): ", text)
            return Result(
                output=output.decode(errors="replace"),
                told=text,
                exit_code=refusal.exit_code if isinstance(refusal, BuildFailed) else None,
                line=int(line[1]) if line else None,
            )
        finally:
            shutil.rmtree(place)

    def _spec(self, case: Case, place: Path) -> BuildSpec:
        options = case.options
        check_build_args(options.build_args)
        check_target(options.target)
        check_labels(options.labels)
        read = dockerfile.read(
            case.dockerfile, build_args=options.build_args, target=options.target
        )
        write_context(case, place / "context")
        (place / "work").mkdir()
        return BuildSpec(
            build_id=uuid4(),
            owner_id=OWNER,
            label=f"owner/{case.name}:latest",
            context=place / "context",
            dockerfile=read,
            build_args=tuple(sorted(options.build_args.items())),
            target=options.target,
            no_cache=options.no_cache,
            labels=tuple(sorted(options.labels.items())),
            network=True,
            limits=LIMITS,
            work=place / "work",
        )


@contextmanager
def running_slipway(folder: Path) -> Iterator[Slipway]:
    """Start a helper, an engine, and a registry with the bases as the mirror of Docker Hub.

    `folder` must be one that only Slipway may enter.
    """
    for name in ("registry", "bases", "builds", "engine"):
        (folder / name).mkdir()
    with running_registry(folder / "registry") as registry:
        for number, image in enumerate(base_images(ENGINE_ROOT.find())):
            layout = folder / "bases" / str(number)
            write_layout(image, layout)
            _push(layout, f"{registry}/{image.name}")
        helper = start_helper(folder, ENGINE_ROOT.find())
        engine = BuildKitEngine(
            EngineSettings(
                root=folder / "engine",
                engine_root=ENGINE_ROOT.find(),
                helper_socket=helper.socket,
                mirrors=(("docker.io", registry),),
                insecure_registries=frozenset({registry}),
                private_registries=frozenset({registry}),
            )
        )
        try:
            yield Slipway(engine=engine, folder=folder / "builds")
        finally:
            engine.close()
            with suppress(ProcessLookupError):
                helper.stop()


def _drive(build: Generator[BuildEvent, None, BuildOutcome], output: bytearray) -> BuildOutcome:
    while True:
        try:
            event = next(build)
        except StopIteration as end:
            outcome: BuildOutcome = end.value
            return outcome
        if isinstance(event, StepOutput):
            output += event.data


def _push(layout: Path, reference: str) -> None:
    command = ENGINE_ROOT.command(
        "skopeo",
        *("--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"),
        *(f"oci:{layout}", f"docker://{reference}"),
        readable=[layout],
        network=True,
    )
    run(command, deadline=60)
