"""Hostile Dockerfiles of the largest size cost a bounded amount of work."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from builds.dockerfile import DockerfileRefused, read
from builds.dockerfile.source import MAX_BYTES

MIB = MAX_BYTES
HOSTILE: dict[str, Callable[[int], str]] = {
    "continued lines": lambda size: "FROM a\nRUN x" + "\\\n" * (size // 2),
    "continued lines with a character": lambda size: "FROM a\nRUN x" + "y\\\n" * (size // 3),
    "comments in a continued line": lambda size: "FROM a\nRUN x\\\n" + "#\n" * (size // 2),
    "empty lines in a continued line": lambda size: "FROM a\nRUN x\\\n" + "\n" * size,
    "blanks": lambda size: "FROM a\nRUN " + (" " * 1000 + "\\\n") * (size // 1002),
    "dollars": lambda size: "FROM a\nENV A=" + ("$" * 1000 + "\\\n") * (size // 1002),
    "dollars above FROM": lambda size: "ARG A=" + ("$" * 100 + "\\\n") * (size // 102) + "\nFROM a",
    "open braces": lambda size: "ARG A=" + ("${A:-" * 100 + "\\\n") * (size // 502) + "\nFROM a",
    "quotes": lambda size: "FROM a\nRUN <<E " + ("'\"" * 500 + "\\\n") * (size // 1002),
    "quotes above FROM": lambda size: "ARG " + ("'\" " * 300 + "\\\n") * (size // 902) + "\nFROM a",
    "heredocs without end": lambda size: "FROM a\n" + "RUN <<E\n" * (size // 8),
    "heredocs": lambda size: "FROM a\n" + "RUN <<E\nE\n" * (size // 10),
    "heredocs of one step": lambda size: "FROM a\nRUN \\\n" + "<<E \\\n" * (size // 8) + "x\n"
    + "E\n" * (size // 8),
    "a long heredoc": lambda size: "FROM a\nRUN <<E\n" + "E \n" * (size // 3) + "E\n",
    "stages": lambda size: "FROM a\n" * (size // 7),
    "copies": lambda size: "FROM a AS a\nFROM b\n" + "COPY --from=a a b\n" * (size // 18),
    "mounts": lambda size: "FROM a\nRUN \\\n" + "--mount=from=a,dst=/x \\\n" * (size // 24) + "x",
    "mounts of many images": lambda size: "FROM a\nRUN \\\n"
    + "".join(f"--mount=from=a{number} \\\n" for number in range(size // 24)) + "x",
    "a long flag": lambda size: "FROM a\nRUN --mount=" + ("a," * 500 + "\\\n") * (size // 1002),
    "a quoted flag": lambda size: 'FROM a\nRUN --mount=\\"'
    + ('\\"\\"' * 200 + "\\\n") * (size // 802),
    "a long name": lambda size: "FROM " + ("a-" * 500 + "\\\n") * (size // 1002) + "a",
    "a long JSON array": lambda size: "FROM a\nRUN [" + ('"a",' * 200 + "\\\n") * (size // 802)
    + "<<E\n",
    "digits": lambda size: "FROM a\nCOPY --from=" + ("0" * 99 + "\\\n") * (size // 101) + "1 a b",
    "contexts of ours": lambda size: "FROM a\nRUN " + "slipway-base-1\\\n" * (size // 17),
    "empty patterns": lambda size: "FROM a\nRUN " + ("${a#} " * 100 + "\\\n") * (size // 602),
    "patterns": lambda size: "ARG A=" + "a" * 1000 + "\n"
    + ("ARG B=${A##" + "*a" * 100 + "b}\n") * (size // 213) + "FROM a",
    "values that double": lambda size: "ARG A=aaaaaaaa\n" + "ARG A=$A$A\n" * (size // 11),
    "values that are copied": lambda size: "ARG A=" + "a" * 60_000 + "\nARG \\\n"
    + "B=$A \\\n" * (size // 8) + "\nFROM a",
    "directives": lambda size: "# escape=\\\n" * (size // 11) + "FROM a\n",
    "blanks in a directive": lambda size: ("# syntax=" + " " * 60_000 + "\n") * (size // 60_010),
}  # fmt: skip


def attempt(text: str) -> None:
    try:
        read(text, build_args={}, platform="linux/amd64")
    except DockerfileRefused as refused:
        assert len(refused.text) < 1000  # noqa: PT017 - one of two proper ends


@pytest.mark.parametrize("name", HOSTILE)
def test_the_work_grows_with_the_size(name: str) -> None:
    make = HOSTILE[name]
    small, large = work(make(8 * 1024)), work(make(16 * 1024))
    assert large < 2.3 * small + 2_000


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_the_largest_is_read_or_refused(name: str) -> None:
    attempt(HOSTILE[name](MIB - 200_000))


def test_values_are_bounded() -> None:
    doubling = "ARG A=aaaaaaaa\n" + "ARG A=$A$A\n" * 30 + "FROM a\n"
    with pytest.raises(DockerfileRefused, match="longer than 65536") as refused:
        read(doubling, build_args={})
    assert refused.value.line == 15


def test_nesting_is_bounded() -> None:
    text = "FROM " + "${A:-" * 51 + "a" + "}" * 51 + "\n"
    with pytest.raises(DockerfileRefused, match="50 deep"):
        read(text, build_args={})
    read(text.replace("${A:-", "", 1).replace("}", "", 1), build_args={})


def test_all_expansions_together_are_bounded() -> None:
    text = "ARG A=" + "a" * 60_000 + "\n" + "ARG B=$A\n" * 1000 + "FROM a\n"
    with pytest.raises(DockerfileRefused, match="too much work"):
        read(text, build_args={})


def test_stages_instructions_and_bases_are_bounded() -> None:
    read("FROM a\n" * 1000, build_args={})
    with pytest.raises(DockerfileRefused, match="more than 1000 stages") as refused:
        read("FROM a\n" * 1001, build_args={})
    assert refused.value.line == 1001
    read("FROM a\n" + "ENV A=1\n" * 9_999, build_args={})
    with pytest.raises(DockerfileRefused, match="more than 10000 instructions"):
        read("FROM a\n" + "ENV A=1\n" * 10_000, build_args={})
    copies = [f"COPY --from=a{number} / /\n" for number in range(200)]
    read("FROM a0\n" + "".join(copies), build_args={})
    with pytest.raises(DockerfileRefused, match="more than 200 base images"):
        read("FROM a\n" + "".join(copies), build_args={})


def test_flags_are_bounded() -> None:
    mounts = "--mount=type=tmpfs,target=/x \\\n"
    read(f"FROM a\nRUN {mounts * 1000}x\n", build_args={})
    with pytest.raises(DockerfileRefused, match="up to 1000 flags") as refused:
        read(f"FROM a\nRUN {mounts * 1001}x\n", build_args={})
    assert refused.value.line == 2
    read(f"FROM a\nRUN --mount=target=/{'x' * (16 * 1024 - 16)} x\n", build_args={})
    with pytest.raises(DockerfileRefused, match="16384 characters"):
        read(f"FROM a\nRUN --mount=target=/{'x' * (16 * 1024 - 15)} x\n", build_args={})


def test_stages_that_buildkit_cannot_walk_are_refused() -> None:
    """It visits a stage once for every way that leads there."""

    def diamonds(count: int) -> str:
        stages = ["FROM scratch AS s0\n", "FROM scratch AS s1\nCOPY --from=s0 / /\n"]
        for number in range(2, count):
            copies = f"COPY --from=s{number - 1} / /\nCOPY --from=s{number - 2} / /\n"
            stages.append(f"FROM scratch AS s{number}\n{copies}")
        return "".join(stages)

    read(diamonds(25), build_args={})
    with pytest.raises(DockerfileRefused, match="copy from each other"):
        read(diamonds(60), build_args={})


def test_a_chain_of_copies_is_read() -> None:
    chain = ["FROM scratch AS s0\n"]
    chain += [f"FROM scratch AS s{n}\nCOPY --from=s{n - 1} / /\n" for n in range(1, 1000)]
    assert len(read("".join(chain), build_args={}).steps) == 1999


def work(text: str) -> int:
    """Lines of the reader that run for the text."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if "builds/dockerfile" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        attempt(text)
    finally:
        sys.settrace(before)
    return count
