"""The reader's steps and bases are what BuildKit 0.13 did with the same text."""

import pytest

from builds.build_spec import Dockerfile
from builds.dockerfile import read
from tests.builds.dockerfile.corpus import BUILT, FAILING, Case, Ran, compare, differences


def read_case(case: Case) -> Dockerfile:
    return read(case.text, build_args=case.build_args, target=case.target, platform="linux/amd64")


@pytest.mark.parametrize("case", BUILT, ids=lambda case: case.name)
def test_steps_and_bases_are_those_of_buildkit(case: Case) -> None:
    found = read_case(case)
    recorded = [vertex(title) for title in (*case.vertexes, *case.triggers)]
    assert differences(case, found, recorded) == []
    assert tuple(found.written[base.context] for base in found.bases) == case.bases
    assert found.text.count("\n") == case.text.count("\n")


@pytest.mark.parametrize("text", FAILING)
def test_what_buildkit_refuses_itself_is_not_judged(text: str) -> None:
    assert read(text, build_args={}, platform="linux/amd64").text.count("\n") == text.count("\n")


def test_the_comparison_finds_differences() -> None:
    case = Case("x", "FROM busybox\nRUN true\nRUN false\n", ("- 1 RUN", "- 2 RUN"))
    found = read_case(case)
    right = ["[context slipway-base-1] OCI load from client", "[1/3] RUN true", "[2/3] RUN false"]

    def said(vertexes: list[str], error: str = "") -> list[str]:
        return compare(case, found, lambda _spec, _case: Ran(vertexes, error))

    assert said(right) == []
    assert said(right[:2]) == ["BuildKit did ['- 1 RUN']"]
    assert said(right[1:]) == ["BuildKit read the contexts []"]
    assert said(right, "no") == ["no"]
    assert differences(case, found, right[:2]) == ["BuildKit does ['- 2 RUN'] not once"]
    assert differences(case, found, [*right, "[3/3] COPY x y"]) == ["only BuildKit does - 3 COPY"]


def vertex(title: str) -> str:
    stage, number, word = title.split()
    return f"[{'' if stage == '-' else f'{stage} '}{number}/9] {word} x"
