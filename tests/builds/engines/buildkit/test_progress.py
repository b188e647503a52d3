"""BuildKit's vertexes become the steps of the Dockerfile, each started once and ended once."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from builds.build_spec import BuildEvent, Step, StepOutput, StepUpdate
from builds.engines.buildkit.progress import SETTLE, ProgressReader, StageSteps

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def steps(*texts: tuple[int, str], first: int = 1) -> StageSteps:
    """Steps of one stage: the number of each, and its instruction."""
    return StageSteps(
        steps={
            position: Step(number=number, stage="", position=position, line=number, text=text)
            for position, (number, text) in enumerate(texts, start=first)
        }
    )


ONE_STAGE = {"": steps((2, "COPY a b"), (4, "run x"), (5, "RUN y"))}
TWO_STAGES = {
    "build": steps((2, "RUN x"), (3, "RUN y")),
    "stage-1": steps((5, "RUN x"), (6, "RUN y")),
}


def stamp(seconds: float) -> str:
    return (T0 + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0") + "Z"


def vertex(name: str, *times: float, **more: Any) -> dict[str, Any]:
    """`times`: when it started and, perhaps, when it completed."""
    found = {"digest": f"sha256:{name}", "name": name, **more}
    found |= dict(zip(("started", "completed"), map(stamp, times), strict=False))
    return {"vertexes": [found]}


def log(name: str, data: bytes, stream: int = 1) -> dict[str, Any]:
    return {
        "logs": [
            {
                "vertex": f"sha256:{name}",
                "stream": stream,
                "data": base64.b64encode(data).decode(),
                "timestamp": stamp(0),
            }
        ]
    }


def read(
    values: Sequence[Mapping[str, Any]],
    stages: Mapping[str, StageSteps] = ONE_STAGE,
    shared: Mapping[int, Sequence[int]] = {},
    *,
    success: bool = True,
) -> list[BuildEvent]:
    reader = ProgressReader(stages, shared)
    events: list[BuildEvent] = []
    for value in values:
        events += reader.read(value)
    return [*events, *reader.finish(success=success)]


def states(events: Sequence[BuildEvent]) -> list[tuple[int, str]]:
    return [(each.step, each.state) for each in events if isinstance(each, StepUpdate)]


def test_numbers_in_a_stage_lead_to_steps_of_the_dockerfile() -> None:
    events = read(
        [
            vertex("[1/3] COPY a b"),
            vertex("[1/3] COPY a b", 1, 2),
            vertex("[ 2/3] RUN x", 3),
            vertex("[ 2/3] RUN x", 3, 4.5),
            vertex("[3/3] RUN y", 5, 6),
        ]
    )
    assert states(events) == [
        (2, "started"), (2, "succeeded"), (4, "started"), (4, "succeeded"),
        (5, "started"), (5, "succeeded"),
    ]  # fmt: skip
    assert StepUpdate(4, "succeeded", T0 + timedelta(seconds=4.5)) in events


def test_a_cached_vertex_is_told_once_and_never_starts() -> None:
    name = "[1/3] COPY a b"
    events = read([vertex(name, 1, 1, cached=True), vertex(name, 1, 1, cached=True)])
    assert states(events) == [(2, "cached")]


def test_a_vertex_that_starts_again_has_not_ended() -> None:
    name = "[1/3] COPY a b"
    reader = ProgressReader(ONE_STAGE, {})
    events = [*reader.read(vertex(name, 1, 2))]
    events += reader.settle(T0 + timedelta(seconds=2) + SETTLE / 2)
    events += reader.read(vertex(name, 1))
    events += reader.settle(T0 + timedelta(seconds=60))
    assert states(events) == [(2, "started")]
    events += reader.read(vertex(name, 1, 70))
    events += reader.settle(T0 + timedelta(seconds=80))
    assert events[-1] == StepUpdate(2, "succeeded", T0 + timedelta(seconds=70))
    assert list(reader.finish(success=True)) == []


def test_output_belongs_to_its_step_and_stream() -> None:
    name = "[2/3] RUN x"
    events = read([vertex(name, 1), log(name, b"out\xff"), log(name, b"err", 2)])
    outputs = [each for each in events if isinstance(each, StepOutput)]
    assert outputs == [StepOutput("stdout", b"out\xff", 4), StepOutput("stderr", b"err", 4)]


def test_stages_side_by_side_are_told_apart() -> None:
    a, b = "[build 1/2] RUN x", "[stage-1 1/2] RUN x"
    events = read([vertex(a, 1), vertex(b, 1), log(b, b"b"), log(a, b"a")], TWO_STAGES)
    outputs = [each for each in events if isinstance(each, StepOutput)]
    assert [(each.step, each.data) for each in outputs] == [(5, b"b"), (2, b"a")]


def test_one_vertex_may_be_several_steps() -> None:
    events = read([vertex("[build 1/2] RUN x", 1, 2)], TWO_STAGES, {2: (2, 5), 5: (2, 5)})
    assert states(events) == [
        (2, "started"), (5, "started"), (2, "succeeded"), (5, "succeeded")
    ]  # fmt: skip


def test_triggers_of_the_base_shift_the_numbers() -> None:
    stages = {"": steps((2, "RUN own"), first=3)}
    events = read([vertex("[1/3] RUN trigger", 1, 2), vertex("[3/3] RUN own", 2, 3)], stages)
    assert states(events) == [(2, "started"), (2, "succeeded")]


def test_a_workdir_that_takes_no_number_shifts_what_follows() -> None:
    stages = {"": steps((2, "WORKDIR $HOME"), (3, "COPY a b"), (4, "RUN x"))}
    events = read([vertex("[1/3] COPY a b", 1, 2), vertex("[2/3] RUN x", 2, 3)], stages)
    assert states(events) == [
        (3, "started"), (3, "succeeded"), (4, "started"), (4, "succeeded")
    ]  # fmt: skip


def test_the_step_that_failed_is_told_from_its_stopped_neighbour() -> None:
    reader = ProgressReader(TWO_STAGES, {})
    stopped = "process did not complete successfully: exit code: 137: context canceled"
    values = [
        vertex("[build 1/2] RUN sleep", 1),
        vertex("[stage-1 1/2] RUN false", 1),
        vertex("[build 1/2] RUN sleep", 1, 2, error=stopped),
        vertex("[stage-1 1/2] RUN false", 1, 2, error="exit code: 1"),
    ]
    events = [event for value in values for event in reader.read(value)]
    events += reader.finish(success=False)
    assert states(events)[2:] == [(2, "cancelled"), (5, "failed")]
    assert reader.failed == 5
    assert reader.error_of(5) == "exit code: 1"


def test_what_still_ran_when_the_build_failed_was_cancelled() -> None:
    events = read([vertex("[build 1/2] RUN sleep", 1)], TWO_STAGES, success=False)
    assert states(events) == [(2, "started"), (2, "cancelled")]


def test_names_that_are_no_step_are_passed_over() -> None:
    names = [
        "[internal] load .dockerignore",
        "exporting to oci image format",
        "[9/9] RUN x",
        "[0/3] x",
    ]
    assert states(read([vertex(name, 1, 2) for name in names])) == []


def test_a_warning_is_a_line_on_stderr() -> None:
    short = base64.b64encode(b"no such flag").decode()
    (event,) = read([{"warnings": [{"short": short}]}])
    assert event == StepOutput("stderr", b"WARNING: no such flag\n")
