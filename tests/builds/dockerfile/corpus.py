"""Dockerfiles that BuildKit and our reader must understand alike.

`vertexes` are the titles that BuildKit 0.13 gave to the work it did, without the internal ones:
recorded from the real one, and compared with it again by `differences`. Titles name contexts, and
every context holds the same busybox.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from builds.build_spec import Dockerfile


class Ran(NamedTuple):
    """What a builder did with a Dockerfile."""

    vertexes: list[str]
    """Titles of work."""
    error: str
    """What the client printed at the end; empty where the build succeeded."""


@dataclass(frozen=True)
class Case:
    """One Dockerfile."""

    name: str
    text: str
    vertexes: tuple[str, ...] = ()
    """`stage position instruction`; the stage is `-` where BuildKit leaves it out."""
    target: str = ""
    build_args: dict[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ("busybox",)
    """As the user wrote them, in order."""
    triggers: tuple[str, ...] = ()
    """Titles of work that ONBUILD adds, which is no step."""


Build = Callable[[Dockerfile, Case], Ran]
"""Builds with the case's target and build arguments, a layout of busybox as every named context of
`Dockerfile.bases`, and a build context that holds `a.txt` and `busybox`."""
_TITLE = re.compile(r"\[(?:([^\s\]]+) +| +)?(\d+)/\d+\] (?:LINK )?(\w+)")
_CONTEXT = re.compile(r"\[context (\S+)\]")

BUILT = [
    Case(
        "one stage",
        "FROM busybox\nRUN true\nENV A=1\nWORKDIR /x\nCOPY a.txt /\nCMD x\n",
        ("- 1 RUN", "- 2 WORKDIR", "- 3 COPY"),
    ),
    Case(
        "scratch has no number",
        "FROM scratch\nCOPY a.txt /\nADD a.txt /b\n",
        ("- 1 COPY", "- 2 ADD"),
        bases=(),
    ),
    Case(
        "stages with and without names",
        "FROM busybox AS One\nRUN echo 1\nFROM busybox\nCOPY --from=one /bin /b\nRUN echo 2\n",
        ("one 1 RUN", "stage-1 1 COPY", "stage-1 2 RUN"),
    ),
    Case(
        "a stage from a stage",
        "FROM busybox AS one\nRUN echo 1\nFROM one AS two\nRUN echo 2\n",
        ("one 1 RUN", "two 1 RUN"),
    ),
    Case(
        "a stage named like its image",
        "FROM busybox AS busybox\nRUN echo 1\nFROM busybox\nRUN echo 2\n",
        ("busybox 1 RUN", "stage-1 1 RUN"),
    ),
    Case(
        "two stages of one name",
        "FROM busybox AS x\nRUN echo 1\nFROM busybox AS x\nRUN echo 2\nFROM x\nRUN echo 3\n",
        ("stage-2 1 RUN", "x 1 RUN"),
    ),
    Case(
        "an unused stage",
        "FROM nosuch:1 AS dev\nCOPY --from=nosuch:2 / /\nRUN <<EOF\nfalse\nEOF\n"
        "FROM busybox\nRUN echo 1\n",
        ("stage-1 1 RUN",),
    ),
    Case(
        "a target",
        "FROM busybox AS one\nRUN echo 1\nFROM busybox AS two\nRUN false\n",
        ("one 1 RUN",),
        target="ONE",
    ),
    Case(
        "copy from an image",
        "FROM busybox\nCOPY --from=busybox:1 /bin /b\n",
        ("stage-0 1 COPY",),
        bases=("busybox", "busybox:1"),
    ),
    Case(
        "copy from numbers",
        "FROM busybox\nRUN echo 1\nFROM busybox\nCOPY --from=0 /bin /b\nCOPY --from=+00 /bin /c\n",
        ("stage-0 1 RUN", "stage-1 1 COPY", "stage-1 2 COPY"),
    ),
    Case(
        "a number that counts an image",
        "FROM busybox\nCOPY --from=busybox:1 /bin /b\nCOPY --from=1 /bin /c\n",
        ("stage-0 1 COPY", "stage-0 2 COPY"),
        bases=("busybox", "busybox:1"),
    ),
    Case(
        "a number that counts an image of an unused stage",
        "FROM busybox:2 AS no\nCOPY --from=busybox:1 /bin /b\nFROM busybox\n"
        "COPY --from=2 /bin /c\n",
        ("stage-1 1 COPY",),
        bases=("busybox", "busybox:1"),
    ),
    Case(
        "a number in a mount is an image",
        "FROM busybox\nRUN true\nFROM busybox\nRUN --mount=from=0,target=/x ls /x/bin\n",
        ("stage-1 1 RUN",),
        bases=("busybox", "0"),
    ),
    Case(
        "a mount names the stage",
        "FROM busybox\nRUN --mount=type=tmpfs,target=/x echo hi\n",
        ("stage-0 1 RUN",),
    ),
    Case(
        "mounts from images and stages",
        "FROM busybox AS one\nRUN echo 1\nFROM busybox\n"
        "RUN --mount=type=bind,from=one,target=/a "
        "--mount=type=bind,from=busybox:3,target=/b ls /b\n",
        ("one 1 RUN", "stage-1 1 RUN"),
        bases=("busybox", "busybox:3"),
    ),
    Case(
        "the last from of a mount counts",
        "FROM busybox\nRUN --mount=from=nosuch,target=/x,from=busybox:1 ls /x\n",
        ("stage-0 1 RUN",),
        bases=("busybox", "busybox:1"),
    ),
    Case(
        "a stage named scratch",
        "FROM busybox AS scratch\nRUN echo 1\nFROM busybox\nRUN --mount=type=cache,target=/x ls\n",
        ("scratch 1 RUN", "stage-1 1 RUN"),
    ),
    Case(
        "quotes and escapes in flags",
        'FROM busybox\nCOPY --from="busybox:1" /bin /a\n'
        "COPY --from=busy\\box:1 /bin /b\nCOPY --from='busy'\"box:1\" /bin /c\n"
        'RUN --mount=type=bind,from=busybox:1,target="/y y" ls "/y y"\n'
        'RUN --mount=\\"from=busybox:1\\",target=/z ls /z\n'
        'COPY --fr"om=busybox:1" /bin /e\n',
        (
            "stage-0 1 COPY",
            "stage-0 2 COPY",
            "stage-0 3 COPY",
            "stage-0 4 RUN",
            "stage-0 5 RUN",
            "stage-0 6 COPY",
        ),
        bases=("busybox", "busybox:1"),
    ),
    Case(
        "words over several lines",
        "FROM busy\\\nbox \\\n# why\n\n  AS one\nRUN echo 1\nFROM \\\nbusy\\\nbox\n"
        "COPY \\\n --from=busy\\\nbox:1 \\\n /bin /b\nRUN \\\n --mount=type=bind,\\\n"
        "#no\nfrom=busybox:1,target=/x \\\n ls /x\nCOPY --from=o\\\nne /bin /c\n",
        ("one 1 RUN", "stage-1 1 COPY", "stage-1 2 RUN", "stage-1 3 COPY"),
        bases=("busybox", "busybox:1"),
    ),
    Case(
        "a name that ends the line before",
        "FROM busy\\\nbox\nRUN echo 1\n",
        ("- 1 RUN",),
    ),
    Case(
        "the escape directive",
        "# escape=`\nFROM busy`\nbox\nRUN echo a `\n  b\nRUN echo c\\d\n",
        ("- 1 RUN", "- 2 RUN"),
    ),
    Case(
        "syntax then escape",
        "# syntax=docker/nosuch:1\n# escape=`\nFROM busybox\nRUN echo a `\n  b\n",
        ("- 1 RUN",),
    ),
    Case(
        "escape then syntax",
        " #   EsCaPe  =  ` \r\n#\tSYNTAX = docker/nosuch:1\r\nFROM busybox\r\n"
        "RUN echo a `\r\n  b\r\n",
        ("- 1 RUN",),
    ),
    Case(
        "syntax behind a shebang",
        "#!/usr/bin/env x\n# escape=`\n# syntax=docker/nosuch:1\nFROM busybox\n"
        "RUN echo a \\\n  b\n",
        ("- 1 RUN",),
    ),
    Case(
        "syntax behind a byte order mark",
        "\ufeff# syntax=docker/nosuch:1\n# escape=`\nFROM busybox\nRUN echo a `\n  b\n",
        ("- 1 RUN",),
    ),
    Case(
        "check ends the directives",
        "# check=skip=all\n# escape=`\nFROM busybox\nRUN echo a \\\n  b\n",
        ("- 1 RUN",),
    ),
    Case(
        "a comment ends the directives",
        "# x\n# syntax=docker/nosuch:1\n# escape=`\nFROM busybox\nRUN echo a \\\n  b\n",
        ("- 1 RUN",),
    ),
    Case(
        "Windows line ends",
        "FROM busybox AS one\r\nRUN echo 1 \\\r\n && echo 2\r\nFROM one\r\nRUN <<E\r\n"
        "echo x\r\nE\r\nCOPY --from=one /bin /b\r\n",
        ("one 1 RUN", "stage-1 1 RUN", "stage-1 2 COPY"),
    ),
    Case(
        "heredocs",
        'FROM busybox\nRUN <<E cat >/f\nFROM nosuch\nE\nCOPY <<-"F" <<G /dir/\n\t$f\n'
        "\tF\ng\nG\nADD <<H /h\nCOPY --from=nosuch / /\nH\nRUN cat <<A <<B\na\nA\nb\nB\n"
        "RUN 3<<X cat <&3\nx\nX\n",
        ("- 1 RUN", "- 2 COPY", "- 3 ADD", "- 4 RUN", "- 5 RUN"),
    ),
    Case(
        "what only looks like a heredoc",
        'FROM busybox\nRUN echo $(( 1 << 3 )) $((1<<3))\nRUN ["echo", "<<EOF"]\n'
        'RUN echo "a <<EOF"\nENV A=<<EOF\nCMD cat <<EOF\nRUN echo a<<EOF || true\n',
        ("- 1 RUN", "- 2 RUN", "- 3 RUN", "- 4 RUN"),
    ),
    Case(
        "a bad expansion hides a heredoc",
        'FROM busybox\nRUN true || echo "${HOME^^}" <<RUN\nRUN true\n',
        ("- 1 RUN", "- 2 RUN"),
    ),
    Case(
        "JSON with something behind",
        'FROM busybox\nRUN ["echo", "a"] <<EOF\nRUN ["echo", "\\u0041\\n"]\n',
        ("- 1 RUN", "- 2 RUN"),
    ),
    Case(
        "onbuild within the file",
        "FROM busybox AS one\nONBUILD RUN echo trigger\nONBUILD ENV X=1\n"
        "ONBUILD COPY <<E /x\nFROM x\nE\nRUN echo one\nFROM one\nRUN echo two\n",
        ("one 1 RUN", "stage-1 3 RUN"),
        triggers=("stage-1 1 RUN", "stage-1 2 COPY"),
    ),
    Case(
        "onbuild and no work",
        "FROM busybox AS one\nONBUILD RUN echo trigger\nFROM one AS two\nFROM two\nRUN echo x\n",
        ("stage-2 1 RUN",),
    ),
    Case(
        "working directories",
        "FROM scratch\nWORKDIR /\nCOPY busybox /bin/busybox\nWORKDIR /a/..\n"
        "COPY busybox /b\nWORKDIR .\nCOPY busybox /c\nWORKDIR x\nCOPY busybox /d\n"
        "WORKDIR ..\nCOPY busybox /e\n",
        ("- 1 COPY", "- 2 WORKDIR", "- 3 COPY", "- 4 COPY", "- 5 WORKDIR", "- 6 COPY", "- 7 COPY"),
        bases=(),
    ),
    Case(
        "working directories of an image",
        'FROM busybox\nWORKDIR /\nRUN echo 1\nWORKDIR "/"\nRUN echo 2\nWORKDIR x\nRUN echo 3\n',
        ("- 1 RUN", "- 2 RUN", "- 3 WORKDIR", "- 4 RUN"),
    ),
    Case(
        "more than nine numbers",
        "FROM busybox\nRUN echo 0\nRUN echo 1\nRUN echo 2\nRUN echo 3\nRUN echo 4\n"
        "RUN echo 5\nRUN echo 6\nRUN echo 7\nRUN echo 8\nRUN echo 9\nRUN echo 10\n",
        (
            "- 1 RUN",
            "- 10 RUN",
            "- 11 RUN",
            "- 2 RUN",
            "- 3 RUN",
            "- 4 RUN",
            "- 5 RUN",
            "- 6 RUN",
            "- 7 RUN",
            "- 8 RUN",
            "- 9 RUN",
        ),
    ),
    Case(
        "the same work in two stages",
        "FROM busybox AS one\nRUN echo same\nLABEL a=1\nRUN echo a\n"
        "FROM busybox AS two\nRUN echo same\nRUN echo b\nFROM busybox\n"
        "COPY --from=two /bin /d\nCOPY --from=one /bin /c\n",
        ("one 1 RUN", "one 2 RUN", "stage-2 1 COPY", "stage-2 2 COPY", "two 2 RUN"),
    ),
    Case(
        "arguments",
        'ARG A=busy B="box" C\nARG D=${A}${B}\nFROM $D\nARG A=x\nRUN echo $A\n',
        ("- 1 RUN",),
    ),
    Case(
        "a build argument",
        "ARG D=nosuch\nFROM $D\nRUN echo 1\n",
        ("- 1 RUN",),
        build_args={"D": "busybox"},
    ),
    Case(
        "flags of ARG are nothing",
        "ARG --x D=busybox\nFROM $D\nRUN echo 1\n",
        ("- 1 RUN",),
    ),
    Case(
        "platform arguments",
        "FROM --platform=$BUILDPLATFORM busybox-$TARGETARCH\nRUN echo 1\n",
        ("- 1 RUN",),
        bases=("busybox-amd64",),
    ),
    Case(
        "a platform argument declared loses its value",
        "ARG TARGETARCH\nFROM busybox-${TARGETARCH:-none}\nRUN echo 1\n",
        ("- 1 RUN",),
        bases=("busybox-none",),
    ),
    Case(
        "two platforms",
        "FROM --platform=linux/arm64 busybox AS one\nCOPY a.txt /\nFROM busybox\n"
        "COPY --from=one /a.txt /\n",
        ("one 1 COPY", "stage-1 1 COPY"),
        bases=("busybox", "busybox"),
    ),
    Case(
        "optional secrets",
        "FROM busybox\nRUN --mount=type=secret,id=x ls\nRUN --mount=type=ssh,required=false ls\n",
        ("stage-0 1 RUN", "stage-0 2 RUN"),
    ),
    Case(
        "required before the type is no requirement",
        "FROM busybox\nRUN --mount=type=secret,id=x,required=0 ls\n",
        ("stage-0 1 RUN",),
    ),
    Case(
        "networks",
        "FROM busybox\nRUN --network=none true\nRUN --network=host true\n"
        "RUN --network=default true\n",
        ("- 1 RUN", "- 2 RUN", "- 3 RUN"),
    ),
    Case(
        "odd letters",
        "from busybox a\u017f one\nrun echo 1\nFROM one\nRUN echo 2\n",
        ("one 1 RUN", "stage-1 1 RUN"),
    ),
    Case(
        "odd blanks",
        "\u2003FROM\tbusybox\x0bAS\x0cone\n\xa0RUN echo 1\nFROM one\nRUN echo 2\n",
        ("one 1 RUN", "stage-1 1 RUN"),
    ),
    Case(
        "non-ASCII in flags",
        "FROM busybox\nRUN --mount=type=tmpfs,target=/é ls /\nCOPY --chown=0:0 a.txt /é\n",
        ("stage-0 1 RUN", "stage-0 2 COPY"),
    ),
    Case(
        "the prefix is taken",
        "FROM busybox AS slipway-base-1\nRUN echo 1\nFROM slipway-base-1\n"
        "COPY --from=busybox:1 /bin /SLIPWAY-base-2\n",
        ("slipway-base-1 1 RUN", "stage-1 1 COPY"),
        bases=("busybox", "busybox:1"),
    ),
    Case(
        "a copy that needs a needed stage twice",
        "FROM busybox AS one\nRUN echo 1\nFROM one AS two\nRUN echo 2\nFROM busybox\n"
        "COPY --from=two /bin /a\nCOPY --from=one /bin /b\nCOPY --from=two /bin /c\n",
        ("one 1 RUN", "stage-2 1 COPY", "stage-2 2 COPY", "stage-2 3 COPY", "two 1 RUN"),
    ),
    Case(
        "no newline at the end",
        "FROM busybox\nRUN echo 1 \\",
        ("- 1 RUN",),
    ),
    Case(
        "an empty continuation",
        "FROM busybox\nRUN echo 1 \\\n\n\n && echo 2\n\\\nRUN echo 3\n",
        ("- 1 RUN", "- 2 RUN"),
    ),
    Case(
        "escape before the end",
        "FROM busybox\nRUN echo a\\\\\nRUN echo b \\ \t\n c\n",
        ("- 1 RUN", "- 2 RUN"),
    ),
]
"""Each builds, and does this work."""

FAILING = [
    "FROM busybox\nFOO x\n",
    "FROM busybox\nRUN <<EOF\nx\n",
    "FROM busybox AS 1x\nRUN true\n",
    "FROM busybox x\n",
    "FROM\n",
    "FROM busybox\nCOPY --from=7 a b\n",
    'FROM busybox\nRUN --mount=type="bind ls\n',
    "FROM busybox\nRUN --mount= ls\n",
    'FROM busybox\nRUN --mount=\\"a\\"b ls\n',
    "# escape=`\n# escape=`\nFROM busybox\n",
    "# escape=x\nFROM busybox\nRUN true\n",
    "FROM busybox\nCOPY a\n",
    "FROM busybox\nRUN --security=sandbox id\n",
    "FROM busybox\nADD --from=x a b\n",
    "FROM busybox\nCOPY --parents a b\n",
    "FROM busybox\nONBUILD ONBUILD RUN x\n",
    "FROM Foo AS unused\nFROM busybox\nRUN true\n",
    "FROM $NO AS unused\nFROM busybox\nRUN true\n",
    "FROM busybox AS unused\nCOPY --from=$NO / /\nFROM busybox\nRUN true\n",
]
"""What BuildKit refuses itself, with the line, before it does any work."""


def differences(case: Case, found: Dockerfile, vertexes: list[str]) -> list[str]:
    """How the reader's steps differ from the titles of the work that BuildKit did."""
    work = set(titles(vertexes))
    mine: dict[int, set[str]] = {}
    for step in found.steps:
        if step.position is not None:
            word = step.text.split()[0].upper()
            title = f"{step.stage or '-'} {step.position} {word}"
            mine.setdefault(found.shared[step.number], set()).add(title)
    known = set(case.triggers).union(*mine.values())
    return [
        *(f"only BuildKit does {title}" for title in sorted(work - known)),
        *(
            f"BuildKit does {sorted(same)} not once"
            for same in mine.values()
            if len(same & work) != 1
        ),
    ]


def titles(vertexes: list[str]) -> list[str]:
    """`[stage 1/9] RUN …` as `stage 1 RUN`, once each; what is no work of a stage is left out."""
    found = [_TITLE.match(vertex) for vertex in vertexes]
    return sorted({f"{each[1] or '-'} {each[2]} {each[3].upper()}" for each in found if each})


def contexts(vertexes: list[str]) -> list[str]:
    """The named contexts that were read."""
    found = [_CONTEXT.match(vertex) for vertex in vertexes]
    return sorted({each[1] for each in found if each})


def compare(case: Case, found: Dockerfile, build: Build) -> list[str]:
    """`differences` from what a real BuildKit does now."""
    ran = build(found, case)
    if ran.error:
        return [ran.error]
    if sorted(base.context for base in found.bases) != contexts(ran.vertexes):
        return [f"BuildKit read the contexts {contexts(ran.vertexes)}"]
    if sorted([*case.vertexes, *case.triggers]) != titles(ran.vertexes):
        return [f"BuildKit did {titles(ran.vertexes)}"]
    return differences(case, found, ran.vertexes)
