"""What the engine gets, and what the worker learns before the build."""

from dataclasses import astuple

import pytest

from builds.build_spec import Dockerfile
from builds.dockerfile import DockerfileRefused, read

DIGEST = "sha256:" + "0f" * 32


def reading(text: str, **build_args: str) -> Dockerfile:
    return read(text, build_args=build_args, platform="linux/amd64")


def references(text: str, **build_args: str) -> list[str]:
    return [base.reference for base in reading(text, **build_args).bases]


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.12", "docker.io/library/python:3.12"),
        ("owner/python:3.12", "docker.io/owner/python:3.12"),
        ("docker.io/python:3.12", "docker.io/library/python:3.12"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("docker:27-dind", "docker.io/library/docker:27-dind"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
        ("registry:5000/x:y", "registry:5000/x:y"),
        (f"python@{DIGEST}", f"docker.io/library/python@{DIGEST}"),
        (f"ghcr.io/a/b:v1@{DIGEST}", f"ghcr.io/a/b@{DIGEST}"),
    ],
)
def test_names_of_images_are_made_whole(name: str, whole: str) -> None:
    found = reading(f"FROM {name} AS x\n")
    assert [base.reference for base in found.bases] == [whole]
    assert found.text == "FROM slipway-base-1 AS x\n"


def test_only_names_of_images_are_replaced() -> None:
    text = (
        "# note\nFROM  alpine:3   AS Alpine # x\n".replace(" # x", "")
        + "RUN echo alpine:3 \\\n# why alpine:3\n\n   && two  \nENV A=alpine:3\n"
        'FROM alpine\nCOPY --link --from="busybox" alpine:3 /\n'
        "RUN --mount=type=bind,from=busybox,target=/busybox ls <<'E'\nCOPY --from=alpine:3 a b\nE\n"
        "COPY --from=0 a b\nCOPY --from=ALPINE a b\nONBUILD COPY --from=busybox a b\n"
        "FROM scratch\nCOPY --from=1 / /\n"
    )
    found = reading(text)
    expected = text.replace("FROM  alpine:3 ", "FROM  slipway-base-1 ")
    expected = expected.replace('from="busybox"', 'from="slipway-base-2"')
    expected = expected.replace("bind,from=busybox", "bind,from=slipway-base-2")
    assert found.text == expected


def test_a_base_is_listed_once_for_each_platform() -> None:
    found = reading(
        "FROM alpine AS a\nFROM docker.io/library/alpine:latest AS b\n"
        "FROM --platform=arm64 alpine AS c\nFROM --platform=linux/aarch64/v8 alpine AS d\n"
        "FROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\nCOPY --from=c / /c\n"
        "COPY --from=d / /d\nCOPY --from=alpine / /e\n"
    )
    assert [astuple(base)[:4] for base in found.bases] == [
        ("slipway-base-1", "docker.io/library/alpine:latest", "linux/amd64", 1),
        ("slipway-base-2", "docker.io/library/alpine:latest", "linux/arm64", 3),
    ]


@pytest.mark.parametrize(
    ("written", "platform"),
    [
        ("linux/amd64", "linux/amd64"), ("LINUX/X86_64", "linux/amd64"), ("arm64", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"), ("linux/arm/6", "linux/arm/v6"), ("armhf", "linux/arm/v7"),
        ("linux/arm64/v8", "linux/arm64"), ("windows/amd64", "windows/amd64"),
        ("$TARGETPLATFORM", "linux/amd64"), ("linux/$BUILDARCH", "linux/amd64"),
        ("linux/i386", "linux/386"), ("macos/amd64/v1", "darwin/amd64"),
    ],
)  # fmt: skip
def test_platforms_are_read_as_containerd_does(written: str, platform: str) -> None:
    [base] = reading(f"FROM --platform={written} alpine\n").bases
    assert base.platform == platform


def test_stages_that_nothing_needs_are_not_judged() -> None:
    text = (
        "FROM alpine AS unused\nRUN --mount=type=secret,id=x,required ls\nCOPY --chmod=u+x a b\n"
        "FROM oci:x AS also\nCOPY --from=Bad/Name a b\nFROM busybox\n"
    )
    found = reading(text)
    assert found.text == text.replace("busybox", "slipway-base-1")
    assert [step.line for step in found.steps] == [6]


def test_steps_are_numbered_over_all_needed_stages() -> None:
    found = reading(
        "ARG V=1\nFROM alpine:$V AS One\nENV A=1\nRUN a\\\n  b\nFROM x AS unused\nRUN c\n"
        "FROM one\nWORKDIR /\nCOPY --from=busybox <<E /\nE\nRUN d\n"
    )
    assert [astuple(step) for step in found.steps] == [
        (1, "one", None, 2, "FROM alpine:$V AS One", "slipway-base-1"),
        (2, "one", None, 3, "ENV A=1", ""),
        (3, "one", 1, 4, "RUN a  b", ""),
        (4, "stage-2", None, 8, "FROM one", ""),
        (5, "stage-2", None, 9, "WORKDIR /", ""),
        (6, "stage-2", 1, 10, "COPY --from=busybox <<E /", ""),
        (7, "stage-2", 2, 12, "RUN d", ""),
    ]


def test_a_step_keeps_300_characters() -> None:
    assert len(reading(f"FROM a\nRUN {'x' * 500}\n").steps[1].text) == 300


def test_steps_with_the_same_history_are_shared() -> None:
    found = reading(
        "FROM a AS one\nARG A=1\nRUN x\nLABEL a=b\nRUN y\n"
        "FROM a AS two\nARG A=1\nRUN x\nRUN y\nRUN z\n"
        "FROM a AS three\nARG A=2\nRUN x\n"
        "FROM b AS four\nARG A=1\nRUN x\n"
        "FROM one AS five\nRUN z\n"
        "FROM scratch\nCOPY --from=two / /\nCOPY --from=three / /\nCOPY --from=four / /\n"
        "COPY --from=five / /\n"
    )
    lines = {step.number: step.line for step in found.steps}
    pairs = {
        lines[number]: lines[first] for number, first in found.shared.items() if number != first
    }
    assert pairs == {6: 1, 7: 2, 8: 3, 9: 5, 11: 1, 18: 10}


def test_heredocs_tell_steps_apart() -> None:
    stages = "FROM a AS one\nRUN <<E\nx\nE\nFROM a AS two\nRUN <<E\ny\nE\n"
    found = reading(f"{stages}FROM scratch\nCOPY --from=one / /\nCOPY --from=two / /\n")
    assert found.shared[4] == 4


def test_messages_name_images_as_they_were_written() -> None:
    many = "".join(f"FROM b{number} AS s{number}\n" for number in range(12))
    copies = "".join(f"COPY --from=s{number} / /\n" for number in range(12))
    found = reading(f"{many}FROM python:3.12\n{copies}")
    assert found.original("[context slipway-base-13] x") == "[context python:3.12] x"
    assert found.original("docker.io/library/slipway-base-1:latest: no") == "b0: no"
    assert found.original("slipway-base-12@sha256:1") == "b11@sha256:1"
    assert found.original("slipway-base-99 slipway-base-") == "slipway-base-99 slipway-base-"
    assert reading("FROM scratch\n").original("slipway-base-1") == "slipway-base-1"


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\nRUN echo slipway-base-1\n", "FROM a AS SLIPWAY-base-1\n",
        "FROM a\nRUN echo slipway-ba\\\nse-1\n", "FROM a AS slipway-b\\\nase-2\nFROM a\n",
    ],
)  # fmt: skip
def test_a_prefix_that_the_user_has_is_not_taken(text: str) -> None:
    found = reading(text)
    [base] = found.bases
    assert base.context.startswith("slipway-base-")
    assert base.context not in text.replace("\\\n", "").lower()
    assert found.original(base.context) == "a"


def test_build_arguments_hold_no_context_either() -> None:
    [base] = reading("ARG A\nFROM a\n", A="slipway-base-1").bases
    assert base.context == "slipway-base-2-1"


# Directives.


@pytest.mark.parametrize(
    ("above", "changed"),
    [
        ("# syntax=x\n", "#: syntax=x\n"),
        ("#SyNtAx\t= x y \n", "#: SyNtAx\t= x y \n"),
        ("\ufeff# syntax=x\n", "\ufeff#: syntax=x\n"),
        ("#!/bin/x\n#syntax=x\n", "#!/bin/x\n#: syntax=x\n"),
        ("  # syntax=x\n", "  #: syntax=x\n"),
        ("# syntax=x\r\n# escape=`\r\n", "# escape=`\r\n#: syntax=x\r\n"),
        ("# escape=`\n# syntax=x\n", "# escape=`\n#: syntax=x\n"),
        ("# syntax=x\n# escape=`\n# syntax=y\n", "# escape=`\n#: syntax=x\n#: syntax=y\n"),
        ("# check=skip=all\n# syntax=x\n", "# check=skip=all\n# syntax=x\n"),
        ("\n# syntax=x\n", "\n# syntax=x\n"),
        ("# note\n# syntax=x\n", "# note\n# syntax=x\n"),
        ("# syntax=\n", "# syntax=\n"),
        ("# syntax\n", "# syntax\n"),
    ],
)
def test_a_syntax_directive_is_taken_out_and_its_line_stays(above: str, changed: str) -> None:
    assert reading(f"{above}FROM a\n").text == f"{changed}FROM slipway-base-1\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("// syntax=x\nFROM a\n", 1),
        ("#!/bin/x\n//SYNTAX = x\n", 2),
        ("// escape=`\n// syntax=x\n", 2),
        ('{"syntax": "x"}', 1),
        ('\n \t{"a": 1, "SYNTAX": "x"}', 2),
        ('#!/bin/x\n{"syntax": "x"}', 2),
    ],
)
def test_other_formats_that_name_a_front_end_are_refused(text: str, line: int) -> None:
    with pytest.raises(DockerfileRefused) as refused:
        reading(text)
    assert refused.value.line == line


def test_an_escape_below_the_syntax_works() -> None:
    assert references("# syntax=x\n# escape=`\nFROM al`\npine\n") == [
        "docker.io/library/alpine:latest"
    ]
