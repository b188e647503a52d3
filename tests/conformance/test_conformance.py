"""Every case, built by a plain `docker build`: the control of what is written by hand."""

import pytest

from tests.conformance.case import Case, load_cases
from tests.conformance.expectations import unmet
from tests.conformance.generated import generated_cases
from tests.conformance.plain_docker import PlainDocker

CASES = [*load_cases(), *generated_cases()]


def marks(case: Case) -> list[pytest.MarkDecorator]:
    return [pytest.mark.engine] if case.quick else [pytest.mark.engine, pytest.mark.long]


EVERY = [pytest.param(case, id=case.name, marks=marks(case)) for case in CASES]


@pytest.mark.parametrize("case", EVERY)
def test_plain_docker_builds_what_the_case_expects(case: Case, plain_docker: PlainDocker) -> None:
    if case.slipway and case.slipway.docker_crashes:
        pytest.skip(case.slipway.reason)
    check(unmet(case, plain_docker.build(case)))


def check(wrong: list[str]) -> None:
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
