"""What every engine promises, whichever way it builds.

The Dockerfiles say everything twice: the real engine takes `#scripted:` lines for comments, the
scripted twin only announces instructions.
"""

import json
import time
from contextlib import closing

import pytest

from builds.build_spec import StepOutput
from builds.engines.base import TICK_SECONDS
from tests.builds.engines.conftest import OWNER, STRANGER, Ran, Workshop, drive, listen

SAYS = """FROM BASE
#scripted: echo hello
#scripted: stderr oh
RUN ONCE; echo hello; echo oh >&2
"""
SLEEPS = """FROM BASE
RUN ONCE; echo before; sleep 1; echo after
#scripted: echo before
#scripted: sleep 1
#scripted: echo after
"""
STAYS = """FROM BASE
RUN ONCE; echo started; sleep 60
#scripted: echo started
#scripted: sleep 60
"""
FAILS = """FROM BASE
RUN echo no luck >&2; exit 3
#scripted: stderr no luck
#scripted: exit 3
"""


@pytest.fixture(params=["scripted", pytest.param("buildkit", marks=pytest.mark.engine)])
def any_workshop(request: pytest.FixtureRequest) -> Workshop:
    found = request.getfixturevalue("workshop" if request.param == "buildkit" else "scripted")
    assert isinstance(found, Workshop)
    assert found.engine.name == request.param
    return found


def test_a_fit_machine_has_no_fatal_problem(any_workshop: Workshop) -> None:
    assert [problem for problem in any_workshop.engine.problems() if problem.fatal] == []


def test_output_arrives_on_its_stream_and_ends_in_an_image(any_workshop: Workshop) -> None:
    spec = any_workshop.spec(SAYS)
    ran = any_workshop.build(spec)
    assert b"hello\n" in ran.stdout
    assert b"oh\n" in ran.stderr
    assert ran.outcome.digest.startswith("sha256:")
    assert ran.outcome.size_bytes > 0
    assert spec.work in ran.outcome.layout.parents


def test_the_layout_is_the_image_that_was_promised(any_workshop: Workshop) -> None:
    spec = any_workshop.spec(SAYS)
    outcome = any_workshop.build(spec).outcome
    index = json.loads((outcome.layout / "index.json").read_text())
    assert [manifest["digest"] for manifest in index["manifests"]] == [outcome.digest]
    blobs = outcome.layout / "blobs/sha256"
    manifest = json.loads((blobs / outcome.digest.removeprefix("sha256:")).read_text())
    parts = [manifest["config"], *manifest["layers"]]
    assert sum(part["size"] for part in parts) == outcome.size_bytes
    config = json.loads((blobs / parts[0]["digest"].removeprefix("sha256:")).read_text())
    assert config["config"]["Labels"]["slipway.build"] == str(spec.build_id)


def test_a_dockerfile_in_the_context_is_only_a_file(any_workshop: Workshop) -> None:
    forged = {"Dockerfile": "FROM scratch\nRUN exit 99\n", "Containerfile": "FROM scratch\n"}
    spec = any_workshop.spec(SAYS + "COPY Dockerfile /app/\n", files=forged)
    assert b"hello\n" in any_workshop.build(spec).stdout


def test_every_attempt_has_a_digest_of_its_own(any_workshop: Workshop) -> None:
    spec = any_workshop.spec(SAYS)
    first = any_workshop.build(spec).outcome
    second = any_workshop.build(any_workshop.again(spec)).outcome
    assert first.digest != second.digest


def test_a_step_starts_once_and_ends_once_around_its_output(any_workshop: Workshop) -> None:
    ran = Ran()
    order: list[object] = []
    build = any_workshop.engine.build(any_workshop.spec(SLEEPS))
    while True:
        try:
            event = next(build)
        except StopIteration:
            break
        ran.take(event)
        if not isinstance(event, StepOutput) and event.step == 2:
            order.append(event.state)
        elif isinstance(event, StepOutput) and event.data.strip():
            assert event.step == 2
            order += event.data.split()
    assert order == ["started", b"before", b"after", "succeeded"]


def test_a_line_arrives_while_the_step_still_runs(any_workshop: Workshop) -> None:
    seen: dict[bytes, float] = {}
    for event in any_workshop.engine.build(any_workshop.spec(SLEEPS)):
        for line in event.data.splitlines() if isinstance(event, StepOutput) else ():
            seen.setdefault(line, time.monotonic())
    assert 0.8 < seen[b"after"] - seen[b"before"] < 2


def test_silence_ticks(any_workshop: Workshop) -> None:
    with closing(any_workshop.engine.build(any_workshop.spec(STAYS))) as build:
        listen(build, b"started")
        began = time.monotonic()
        ticks = [next(build) for _ in range(6)]
        assert all(isinstance(tick, StepOutput) and not tick.data for tick in ticks)
        assert time.monotonic() - began < 6 * TICK_SECONDS + 0.5


def test_a_failing_step_says_what_it_said_and_its_exit_code(any_workshop: Workshop) -> None:
    failed, ran = any_workshop.fails(FAILS)
    assert b"no luck\n" in ran.stderr
    assert (failed.code, failed.exit_code) == ("step", 3)
    assert "exit code 3" in failed.text
    assert (2, "failed") in ran.states


def test_closing_ends_the_build_at_once(any_workshop: Workshop) -> None:
    build = any_workshop.engine.build(any_workshop.spec(STAYS))
    listen(build, b"started")
    began = time.monotonic()
    build.close()
    assert time.monotonic() - began < 10


def test_discarding_removes_the_work_folder_twice_over(any_workshop: Workshop) -> None:
    spec = any_workshop.spec(SAYS)
    any_workshop.build(spec)
    any_workshop.engine.discard(spec)
    assert not spec.work.exists()
    any_workshop.engine.discard(spec)


def test_discarding_after_a_build_that_was_closed_leaves_nothing(any_workshop: Workshop) -> None:
    spec = any_workshop.spec(STAYS)
    build = any_workshop.engine.build(spec)
    next(build)
    build.close()
    any_workshop.engine.discard(spec)
    assert not spec.work.exists()


def test_making_room_lets_everybody_build_again(any_workshop: Workshop) -> None:
    spec = any_workshop.spec(SAYS, owner=STRANGER)
    any_workshop.build(spec)
    any_workshop.engine.discard(spec)
    any_workshop.engine.make_room(1 << 60)
    assert any_workshop.build(any_workshop.again(spec)).outcome.digest


def test_sweeping_spares_the_living(any_workshop: Workshop) -> None:
    spec = any_workshop.spec(SLEEPS, owner=OWNER)
    build = any_workshop.engine.build(spec)
    listen(build, b"before")
    any_workshop.engine.sweep(frozenset({spec.build_id}))
    assert b"after" in drive(build).stdout
