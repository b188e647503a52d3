"""What every engine promises, whichever way it builds.

The Dockerfiles say everything twice: the real engine takes `#scripted:` lines for comments, the
scripted twin only announces instructions.
"""

import json
import time
from contextlib import closing

import pytest

from builds.engines.base import TICK_SECONDS, BuildFailed
from tests.builds.engines.conftest import (
    NOTHING,
    OWNER,
    STRANGER,
    Ran,
    Yard,
    data_of,
    drive,
    listen,
)

SAYS = """FROM BASE
#scripted: echo hello
#scripted: stderr oh
RUN ONCE; echo hello; echo oh >&2
"""
SLEEPS = """FROM BASE
#scripted: echo before
#scripted: sleep 1
#scripted: echo after
RUN ONCE; echo before; sleep 1; echo after
"""
STAYS = """FROM BASE
#scripted: echo started
#scripted: sleep 60
RUN ONCE; echo started; sleep 60
"""
FAILS = """FROM BASE
#scripted: stderr no luck
#scripted: exit 3
RUN echo no luck >&2; exit 3
"""


@pytest.fixture(params=["scripted", pytest.param("buildah", marks=pytest.mark.engine)])
def any_yard(request: pytest.FixtureRequest) -> Yard:
    yard = request.getfixturevalue("yard" if request.param == "buildah" else "scripted")
    assert isinstance(yard, Yard)
    assert yard.engine.name == request.param
    return yard


def test_a_fit_machine_has_no_fatal_problem(any_yard: Yard) -> None:
    assert [problem for problem in any_yard.engine.problems() if problem.fatal] == []


def test_output_arrives_on_its_stream_and_ends_in_an_image(any_yard: Yard) -> None:
    order = any_yard.order(SAYS)
    ran = any_yard.build(order)
    assert b"hello\n" in ran.stdout
    assert b"oh\n" in ran.stderr
    assert ran.outcome.digest.startswith("sha256:")
    assert ran.outcome.size_bytes > 0
    assert order.work in ran.outcome.layout.parents


def test_the_layout_is_the_image_that_was_promised(any_yard: Yard) -> None:
    order = any_yard.order(SAYS)
    outcome = any_yard.build(order).outcome
    index = json.loads((outcome.layout / "index.json").read_text())
    assert [manifest["digest"] for manifest in index["manifests"]] == [outcome.digest]
    blobs = outcome.layout / "blobs/sha256"
    manifest = json.loads((blobs / outcome.digest.removeprefix("sha256:")).read_text())
    parts = [manifest["config"], *manifest["layers"]]
    assert sum(part["size"] for part in parts) == outcome.size_bytes
    config = json.loads((blobs / parts[0]["digest"].removeprefix("sha256:")).read_text())
    assert config["config"]["Labels"]["slipway.build"] == str(order.build_id)


def test_a_dockerfile_in_the_context_is_only_a_file(any_yard: Yard) -> None:
    forged = {"Dockerfile": "FROM scratch\nRUN exit 99\n", "Containerfile": "FROM scratch\n"}
    order = any_yard.order(SAYS + "COPY Dockerfile /app/\n", files=forged)
    assert b"hello\n" in any_yard.build(order).stdout


def test_every_attempt_has_a_digest_of_its_own(any_yard: Yard) -> None:
    order = any_yard.order(SAYS)
    first = any_yard.build(order).outcome
    second = any_yard.build(any_yard.again(order)).outcome
    assert first.digest != second.digest


def test_a_line_arrives_while_the_step_still_runs(any_yard: Yard) -> None:
    seen: dict[bytes, float] = {}
    for event in any_yard.engine.build(any_yard.order(SLEEPS)):
        for line in data_of(event).splitlines():
            seen.setdefault(line, time.monotonic())
    assert 0.8 < seen[b"after"] - seen[b"before"] < 2


def test_silence_ticks(any_yard: Yard) -> None:
    with closing(any_yard.engine.build(any_yard.order(STAYS))) as build:
        listen(build, b"started")
        began = time.monotonic()
        assert [data_of(next(build)) for _ in range(3)] == [b""] * 3
        assert time.monotonic() - began < 4 * TICK_SECONDS + 0.5


def test_a_failing_step_says_what_it_said_and_its_exit_code(any_yard: Yard) -> None:
    ran = Ran(outcome=NOTHING)
    with pytest.raises(BuildFailed) as failed:
        drive(any_yard.engine.build(any_yard.order(FAILS)), ran)
    assert b"no luck\n" in ran.stderr
    assert (failed.value.code, failed.value.exit_code) == ("step", 3)
    assert "exit code 3" in failed.value.text
    assert "\n" not in failed.value.text


def test_a_dockerfile_without_instructions_is_the_owners_mistake(any_yard: Yard) -> None:
    with pytest.raises(BuildFailed) as failed:
        any_yard.build(any_yard.order("# nothing\n"))
    assert failed.value.code == "syntax"


def test_closing_ends_the_build_at_once(any_yard: Yard) -> None:
    build = any_yard.engine.build(any_yard.order(STAYS))
    listen(build, b"started")
    began = time.monotonic()
    build.close()
    assert time.monotonic() - began < 1


def test_discarding_removes_the_work_folder_twice_over(any_yard: Yard) -> None:
    order = any_yard.order(SAYS)
    any_yard.build(order)
    any_yard.engine.discard(order)
    assert not order.work.exists()
    any_yard.engine.discard(order)


def test_discarding_after_a_build_that_was_closed_leaves_nothing(any_yard: Yard) -> None:
    order = any_yard.order(STAYS)
    build = any_yard.engine.build(order)
    next(build)
    build.close()
    any_yard.engine.discard(order)
    assert not order.work.exists()


def test_making_room_lets_everybody_build_again(any_yard: Yard) -> None:
    order = any_yard.order(SAYS, owner=STRANGER)
    any_yard.build(order)
    any_yard.engine.discard(order)
    any_yard.engine.make_room(1 << 60)
    assert any_yard.build(any_yard.again(order)).outcome.digest


def test_sweeping_spares_the_living(any_yard: Yard) -> None:
    order = any_yard.order(SLEEPS, owner=OWNER)
    build = any_yard.engine.build(order)
    listen(build, b"before")
    any_yard.engine.sweep(frozenset({order.build_id}))
    assert b"after" in drive(build).stdout


BESIDE = """FROM scratch AS one
RUN scripted: echo a ;; sleep {seconds} ;; echo b
FROM scratch
RUN scripted: cached
RUN scripted: echo c ;; sleep 0.3 ;; {last}
COPY --from=one /a /b
"""


def test_scripted_stages_run_side_by_side_and_wait_for_those_they_name(scripted: Yard) -> None:
    ran = scripted.build(scripted.order(BESIDE.format(last="echo d", seconds=0.3)))
    assert sorted(ran.stdout[:4].split()) == [b"a", b"c"]
    updates = [(update.step, update.state) for update in ran.updates]
    assert sorted(updates[:3]) == [(2, "started"), (4, "cached"), (5, "started")]
    assert sorted(updates[3:5]) == [(2, "succeeded"), (5, "succeeded")]
    assert updates[5:] == [(6, "started"), (6, "succeeded")]
    assert [update.at for update in ran.updates] == sorted(update.at for update in ran.updates)


def test_a_scripted_step_that_fails_stops_its_neighbours(scripted: Yard) -> None:
    ran = Ran(outcome=NOTHING)
    with pytest.raises(BuildFailed):
        drive(scripted.engine.build(scripted.order(BESIDE.format(last="exit 3", seconds=60))), ran)
    updates = [(update.step, update.state) for update in ran.updates]
    assert updates[3:] == [(5, "failed"), (2, "cancelled")]
    assert {number for number, _ in updates} == {2, 4, 5}
