"""What the policy lets through, in which words, and what it refuses with which line."""

import platform
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.dockerfile import DockerfileRefused, read
from builds.dockerfile.instructions import parse

DIGEST = "sha256:" + "0f" * 32
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def text(dockerfile: str, **build_args: str) -> str:
    return read(dockerfile, build_args=build_args).text


def bases(dockerfile: str, **build_args: str) -> tuple[str, ...]:
    return read(dockerfile, build_args=build_args).bases


def refusal(dockerfile: str, line: int | None, **build_args: str) -> str:
    with pytest.raises(DockerfileRefused) as refused:
        read(dockerfile, build_args=build_args)
    said = refused.value.text
    assert refused.value.line == line
    assert said.startswith(f"Dockerfile line {line}: ") if line else "line" not in said
    assert "\n" not in said
    return said


# Images.


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.12", "docker.io/library/python:3.12"),
        ("parachutes/python:3.12", "docker.io/parachutes/python:3.12"),
        ("docker.io/python:3.12", "docker.io/library/python:3.12"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("docker:27-dind", "docker.io/library/docker:27-dind"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
        ("registry:5000/x:y", "registry:5000/x:y"),
        (f"python@{DIGEST}", f"docker.io/library/python@{DIGEST}"),
        (f"ghcr.io/a/b:v1@{DIGEST}", f"ghcr.io/a/b@{DIGEST}"),
        ('"python:3.12"', "docker.io/library/python:3.12"),
    ],
)
def test_names_of_images_are_made_whole(name: str, whole: str) -> None:
    assert text(f"FROM {name}\n") == f"FROM {whole}\n"
    assert bases(f"FROM {name}\n") == (whole,)


@pytest.mark.parametrize(
    "name",
    [
        "oci:/etc", "oci:etc", "dir:/etc", "dir:etc", "docker-archive:/x.tar", "oci-archive:x",
        "containers-storage:x", "docker://python", "docker-daemon:x:y", "http://evil/x",
        "https://evil/x", "tarball:/x", "sif:/x", "ostree:x@/y", "/etc", "./x", "../x", "a//b",
        "python:", "Python", "a/B", "host:port/x", "[::1]:5000/x", "-x/y", "x@sha256:1", "python@",
        "py_-thon", "é", "a" * 300, "OCI:/etc",
    ],
)  # fmt: skip
def test_what_is_no_image_in_a_registry_is_refused(name: str) -> None:
    quoted = f'"{name}"'
    assert "is not an image's name" in refusal(f"FROM {quoted}\n", 1)
    assert refusal(f"FROM a AS b\nRUN x\nCOPY --from={name} / /\n", 3)
    assert "is not an image's name" in refusal("ARG X\nFROM $X\n", 2, X=name)
    assert "is not an image's name" in refusal("ARG X\nFROM $X\n", 2, X=f"python {name}")
    assert refusal(f"FROM a\nRUN --mount=type=bind,target=/m,from={name} ls\n", 2)


def test_each_base_is_named_once_and_stages_and_scratch_never() -> None:
    dockerfile = """
FROM python:3.12 AS Build
FROM scratch AS empty
FROM build
COPY --from=BUILD /a /a
COPY --from=0 /a /a
COPY --from=busybox /bin /bin
RUN --mount=from=docker.io/library/busybox:latest,target=/b true
FROM python:3.12
"""
    found = read(dockerfile, build_args={})
    assert found.bases == ("docker.io/library/python:3.12", "docker.io/library/busybox:latest")
    assert found.steps == 8
    assert found.text.splitlines()[1:6] == [
        "FROM docker.io/library/python:3.12 AS build",
        "FROM scratch AS empty",
        "FROM build",
        "COPY --from=build /a /a",
        "COPY --from=0 /a /a",
    ]
    assert found.text.splitlines()[7] == (
        "RUN --mount=type=bind,from=docker.io/library/busybox:latest,target=/b true"
    )


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("1", "no stage 1"),
        ("7", "no stage 7"),
        ("here", "nothing can come from"),
        ("scratch", "nothing can come from"),
        ("", "is not an image's name"),
    ],
)
def test_a_source_must_come_earlier(source: str, complaint: str) -> None:
    assert complaint in refusal(f"FROM a\nFROM b AS here\nCOPY --from={source} / /\n", 3)


def test_stage_names_are_plain_and_given_once() -> None:
    assert "two stages" in refusal("FROM a AS x\nFROM b AS X\n", 2)
    assert "cannot name a stage" in refusal("FROM a AS 1x\n", 1)
    assert "cannot name a stage" in refusal("FROM a AS docker.io/x\n", 1)
    assert "cannot name a stage" in refusal("FROM a AS scratch\n", 1)


@pytest.mark.parametrize("rest", ["", "a b", "a AS", "a AS b c", "a IS b"])
def test_a_from_of_the_wrong_shape_is_refused(rest: str) -> None:
    assert "FROM takes an image" in refusal(f"FROM {rest}\n", 1)


def test_the_platform_may_only_be_this_one() -> None:
    assert text("FROM --platform=$BUILDPLATFORM a\n") == "FROM docker.io/library/a:latest\n"
    assert text(f"FROM --platform=linux/{ARCH} a\n") == "FROM docker.io/library/a:latest\n"
    assert f"for linux/{ARCH}, not for 'linux/s390x'" in refusal(
        "FROM --platform=linux/s390x a\n", 1
    )
    assert "not a flag of FROM" in refusal("FROM --other=1 a\n", 1)


# Arguments.


@pytest.mark.parametrize(
    ("argument", "name", "whole"),
    [
        ("V=3.12", "python:$V", "python:3.12"),
        ("V=3.12", "python:${V}", "python:3.12"),
        ("V='3.12'", 'python:"$V"', "python:3.12"),
        ("V", "python:${V:-3.11}", "python:3.11"),
        ("V=", "python:${V:-3.11}", "python:3.11"),
        ("V=", "python${V-:3.11}", "python:latest"),
        ("V=x", "python${V:+:slim}", "python:slim"),
        ("V=", "python${V:+:slim}", "python:latest"),
        ("V=x W=$V-y", "python:$W", "python:x-y"),
        ("W=1", "python:${V:-${W}}", "python:1"),
        ("W=1", "python:${W:-$unset}", "python:1"),
        ("W=1", "python:${V:-a}${W:+b}", "python:ab"),
    ],
)
def test_arguments_are_put_into_from(argument: str, name: str, whole: str) -> None:
    assert bases(f"ARG {argument}\nFROM {name}\n") == (f"docker.io/library/{whole}",)


def test_a_build_argument_outranks_a_default_where_it_is_declared() -> None:
    assert bases("ARG V=1\nFROM a:$V\n", V="2") == ("docker.io/library/a:2",)
    assert bases("ARG V\nFROM a:$V\n", V="2") == ("docker.io/library/a:2",)
    assert bases("FROM a:1\n", V="2") == ("docker.io/library/a:1",)
    assert "$V" in refusal("FROM a:$V\n", 1, V="2")


@pytest.mark.parametrize("before", ["", "ARG V\n", "ARG V=$W\n", "ARG V='$\n"])
def test_a_variable_without_a_value_is_refused_by_name(before: str) -> None:
    said = refusal(f"{before}FROM a:$V\n", 1 + before.count("\n") if "'" not in before else 1)
    assert "$V" in said or "' is missing" in said


def test_arguments_of_a_stage_count_for_its_copies_and_mounts() -> None:
    found = text(
        "ARG V=1\nFROM a\nARG V\nARG N=apt\nCOPY --from=b:$V /x /y\n"
        "RUN --mount=type=cache,id=$N-$V,target=/c ls\n"
    )
    assert "COPY --from=docker.io/library/b:1 /x /y" in found
    assert "RUN --mount=type=cache,id=apt-1,target=/c ls" in found


def test_arguments_do_not_reach_into_stages_that_do_not_declare_them() -> None:
    assert "$V" in refusal("ARG V=1\nFROM a\nCOPY --from=b:$V /x /y\n", 3)
    assert "$V" in refusal("FROM a\nARG V=1\nFROM c\nCOPY --from=b:$V /x /y\n", 4)


def test_what_env_sets_cannot_choose_an_image_or_a_mount() -> None:
    assert "$V" in refusal("FROM a\nARG V=1\nENV V=../..\nCOPY --from=b:$V / /\n", 4)
    assert "$V" in refusal("FROM a\nARG V=1\nENV V ../..\nCOPY --from=b:$V / /\n", 4)
    assert "$V" in refusal("FROM a\nRUN --mount=type=cache,id=$V,target=/c ls\n", 2)


def test_variables_elsewhere_are_left_to_the_engine() -> None:
    kept = 'RUN echo $HOME ${PATH%:*} "$(( 1<<3 ))"'
    assert kept in text(f"FROM a\n{kept}\n")


@pytest.mark.parametrize("name", ["a:${V", "a:${V%x}", "a:$", "a:${}", "'a"])
def test_an_expansion_that_cannot_be_read_is_refused(name: str) -> None:
    assert "cannot be read" in refusal(f"ARG V=1\nFROM {name}\n", 2)


# Mounts and other flags.


@pytest.mark.parametrize(
    ("mount", "plain"),
    [
        ("target=/m,type=bind,src=sub/x", "type=bind,target=/m,source=sub/x"),
        ("type=bind,source=/,dst=/m,readwrite", "type=bind,source=/,target=/m,rw"),
        ("type=cache,target=/root/.cache", "type=cache,target=/root/.cache"),
        ("type=cache,id=a.b-c_d,target=/c,sharing=locked", None),
        ("type=tmpfs,target=/t", None),
        ("from=0,target=/m", "type=bind,from=0,target=/m"),
        ("from=first,target=/m,ro", "type=bind,from=first,target=/m,ro"),
    ],
)
def test_mounts_that_stay_inside_are_kept_in_plain_words(mount: str, plain: str | None) -> None:
    found = text(f"FROM a AS first\nFROM b\nRUN --mount={mount} ls\n")
    assert f"RUN --mount={plain or mount} ls\n" in found


@pytest.mark.parametrize(
    ("mount", "complaint"),
    [
        ("type=bind,source=../x,target=/m", "source leads out"),
        ("type=bind,source=a/../../x,target=/m", "source leads out"),
        ("type=bind,src=..,target=/m", "source leads out"),
        ("type=cache,target=../../x", "target leads out"),
        ("type=cache,id=../x,target=/m", "id may hold"),
        ("type=cache,id=/x,target=/m", "id may hold"),
        ("type=cache,id=a/b,target=/m", "id may hold"),
        ("type=cache,id=..,target=/m", "id may hold"),
        ("type=cache,id=,target=/m", "id may hold"),
        ("type=secret,id=x,target=/m", "gets no secrets"),
        ("type=ssh", "gets no SSH agent"),
        ("type=volume,target=/m", "type=volume is not known"),
        ("type=bind,target=/m,bind-propagation=shared", "'bind-propagation' is not an option"),
        ("type=tmpfs,target=/m,size=1m", "'size' is not an option"),
        ("type=bind,source=x,source=y,target=/m", "given twice"),
        ("type=bind,source=x,src=y,target=/m", "given twice"),
        ("type=bind,source=x", "no target"),
        ("type=bind,source=$EVIL,target=/m", "characters that a mount cannot hold"),
        ("$EVIL,target=/m", "is not an option"),
        ("", "is not an option"),
    ],
)
def test_mounts_that_could_lead_out_are_refused(mount: str, complaint: str) -> None:
    said = refusal(f"FROM a\nARG EVIL\nRUN --mount={mount} ls\n", 3, EVIL="x,from=oci:/etc")
    assert complaint in said


def test_every_mount_of_a_line_is_checked() -> None:
    line = "RUN --mount=type=tmpfs,target=/t --mount=type=cache,id=../x,target=/m ls"
    assert "id may hold" in refusal(f"FROM a\n{line}\n", 2)


@pytest.mark.parametrize("flag", ["--network=default", "--security=sandbox"])
def test_flags_that_change_nothing_are_dropped(flag: str) -> None:
    assert "\nRUN ls\n" in text(f"FROM a\nRUN {flag} ls\n")


@pytest.mark.parametrize("flag", ["--network=host", "--network=none", "--security=insecure", "--x"])
def test_a_run_cannot_choose_its_wall(flag: str) -> None:
    assert "leave it out" in refusal(f"FROM a\nRUN {flag} ls\n", 2)


def test_copy_keeps_its_other_flags_and_loses_link() -> None:
    assert "\nCOPY --chown=1:$G --chmod=755 a b\n" in text(
        "FROM a\nCOPY --link --chown=1:$G --chmod=755 a b\n"
    )
    assert "\nADD https://example.com/x /x\n" in text(
        "FROM a\nADD --link=true https://example.com/x /x\n"
    )


@pytest.mark.parametrize(
    "flag",
    ["--$X", "--fr${X}=a", "--'from'=oci:/etc", '--from="a"', "--from=a\\b", "--from=\u00e9", "--"],
)
def test_flags_that_builders_could_read_differently_are_refused(flag: str) -> None:
    assert "cannot be read" in refusal(f"FROM a\nARG X=om\nCOPY {flag} / /\n", 3)


def test_the_same_flag_twice_is_refused() -> None:
    assert "twice" in refusal("FROM a\nCOPY --from=b --from=c / /\n", 2)


def test_unusual_blanks_do_not_hide_a_flag() -> None:
    assert "is not an image's name" in refusal("FROM a\nCOPY \u00a0--from=oci:/etc / /\n", 2)
    assert "is not an image's name" in refusal("FROM a\nCOPY --link\u2003--from=dir:/etc / /\n", 2)


def test_triggers_pass_the_same_policy() -> None:
    assert "ONBUILD COPY --from=docker.io/library/b:latest / /" in text(
        "FROM a\nONBUILD copy --from=b / /\n"
    )
    assert "is not an image's name" in refusal("FROM a\nONBUILD COPY --from=oci:/etc / /\n", 2)
    assert "id may hold" in refusal("FROM a\nONBUILD RUN --mount=type=cache,id=..,target=/m x\n", 2)
    for inner in ("FROM b", "ONBUILD RUN x", "MAINTAINER x"):
        assert "ONBUILD cannot hold" in refusal(f"FROM a\nONBUILD {inner}\n", 2)
    assert "is not an instruction" in refusal("FROM a\nONBUILD\n", 2)


# Reading.


def test_lines_stay_where_they_were() -> None:
    dockerfile = (
        "# syntax=docker/dockerfile:1\n\nFROM a\n# note\nRUN one && \\\n  # why\n\n  two\nCMD x"
    )
    assert text(dockerfile).split("\n") == [
        "", "", "FROM docker.io/library/a:latest", "", "RUN one &&   two", "", "", "", "CMD x", "",
    ]  # fmt: skip


def test_windows_line_ends_and_a_byte_order_mark_are_no_hindrance() -> None:
    assert text("\ufeffFROM a\r\nRUN b \\\r\n c\r\n") == (
        "FROM docker.io/library/a:latest\nRUN b  c\n"
    )


def test_the_escape_directive_chooses_what_continues_a_line() -> None:
    dockerfile = "# escape=`\nFROM a\nRUN dir C:\\ `\n  /x\n"
    assert text(dockerfile) == ("# escape=`\nFROM docker.io/library/a:latest\nRUN dir C:\\   /x\n")
    assert "escape can only be" in refusal("# escape=x\nFROM a\n", 1)


def test_a_directive_below_a_comment_is_a_comment() -> None:
    assert text("# note\n# escape=`\nFROM a\nRUN b \\\n c\n").endswith("RUN b  c\n")


def test_instructions_may_be_written_in_any_case() -> None:
    assert text("from a as b\ncmd x\n") == "FROM docker.io/library/a:latest AS b\nCMD x\n"


def test_only_a_newline_ends_a_line() -> None:
    hidden = "RUN echo \u2028FROM oci:/etc \x0b\x85"
    assert parse(f"FROM a\n{hidden}\n").instructions[1].word == "RUN"
    assert len(parse(f"FROM a\n{hidden}\n").instructions) == 2


@pytest.mark.parametrize(
    "line",
    ["RUN <<EOF", "RUN cat <<EOF > /x", "COPY <<'EOF' /x", 'ADD <<-"E" /x', "RUN 3<<EOF cat",
     "ONBUILD RUN <<EOF"],
)  # fmt: skip
def test_heredocs_are_refused_with_another_way(line: str) -> None:
    assert "heredocs" in refusal(f"FROM a\n{line}\nhello\nEOF\n", 2)


@pytest.mark.parametrize(
    "line",
    ["RUN echo $(( 1 << 3 ))", "RUN x=$((1<<3))", "RUN cat <<< word", "RUN echo 'a <<EOF'",
     'RUN ["cat", "<<EOF"]', "CMD cat <<EOF"],
)  # fmt: skip
def test_what_only_looks_like_a_heredoc_is_kept(line: str) -> None:
    assert line in text(f"FROM a\n{line}\n")


@pytest.mark.parametrize("nothing", ["", "\n\n", "# only a comment\n", "\\\n"])
def test_an_empty_dockerfile_is_refused(nothing: str) -> None:
    assert "is empty" in refusal(nothing, None)


def test_a_dockerfile_without_from_is_refused() -> None:
    assert "no FROM" in refusal("ARG X=1\n", None)
    assert "before the first FROM" in refusal("RUN x\nFROM a\n", 1)


def test_a_huge_dockerfile_is_refused() -> None:
    assert "larger than 1 MiB" in refusal("FROM a\n#" + "x" * 1024 * 1024, None)


def test_a_nul_byte_is_refused() -> None:
    assert "NUL" in refusal("FROM a\nRUN \0\n", 2)


def test_an_unknown_instruction_is_refused_with_a_guess() -> None:
    assert "'FORM' is not an instruction: did you mean FROM?" in refusal("FORM a\n", 1)
    assert "continue the one above" in refusal("FROM a\nRUN x\n  --flag\n", 3)
    assert "is not an instruction" in refusal("FROM a\nRUN\u00a0x\n", 2)


def test_a_line_ending_in_two_escapes_is_refused() -> None:
    assert "another character" in refusal("FROM a\nRUN echo \\\\\nRUN x\n", 2)


_pieces = st.sampled_from(
    ["FROM a", "FROM ", "COPY ", "RUN ", "ARG X=1", "--from=", "--mount=type=bind,target=/m,",
     "oci:/etc", "from=dir:x", "$X", "\\\n", "\n", "\n", " ", "#", "`", "<<E", "'", '"', "\u00a0",
     "\r", "b", "AS c", "ONBUILD ", "# escape=`\n", "/ /"],
)  # fmt: skip


@given(st.lists(_pieces, max_size=30).map("".join))
def test_what_was_read_once_reads_the_same_again(dockerfile: str) -> None:
    """So the engine, which reads the same way or simpler, finds no other instruction in it."""
    try:
        found = read("FROM a\n" + dockerfile, build_args={})
    except DockerfileRefused:
        return
    assert read(found.text, build_args={}) == found
    for line in found.text.split("\n"):
        assert not line.startswith("FROM oci:")
        if line.startswith(("COPY ", "RUN ", "ADD ")):
            flags = takewhile(lambda word: word.startswith("--"), line.split()[1:])
            assert not [flag for flag in flags if "from=oci:" in flag]
