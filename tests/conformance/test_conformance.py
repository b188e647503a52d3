"""Every case, built by Slipway and by a plain `docker build`.

What is written by hand must hold for both: plain docker is the control of the expectations. Then
the two results must be equal.
"""

import pytest

from tests.conformance.case import Case, load_cases
from tests.conformance.expectations import differences, of_slipway, unmet
from tests.conformance.generated import generated_cases
from tests.conformance.plain_docker import PlainDocker
from tests.conformance.slipway import Slipway

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
CASES = [*load_cases(), *generated_cases()]


def parameters() -> list[object]:
    return [
        pytest.param(case, id=case.name, marks=[] if case.quick else [pytest.mark.long])
        for case in CASES
    ]


@pytest.mark.parametrize("case", parameters())
def test_builds_what_docker_build_does(
    case: Case, plain_docker: PlainDocker | None, slipway: Slipway, started: float
) -> None:
    ours = slipway.build(case)
    wrong = [f"Slipway: {each}" for each in unmet(of_slipway(case), ours)]
    if plain_docker and not (case.slipway and case.slipway.without_docker):
        theirs = plain_docker.build(case)
        wrong += [f"plain docker: {each}" for each in unmet(case, theirs)]
        if case.slipway is None or not case.slipway.reason:
            wrong += [f"difference: {each}" for each in differences(ours, theirs, since=started)]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_names_are_unique_and_the_suite_is_as_large_as_promised() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 150
