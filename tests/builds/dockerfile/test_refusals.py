"""What is refused before the build, with the line and what to do."""

import pytest

from builds.dockerfile import DockerfileRefused, read


def refusal(text: str, line: int | None, target: str = "", **build_args: str) -> str:
    with pytest.raises(DockerfileRefused) as refused:
        read(text, build_args=build_args, target=target, platform="linux/amd64")
    said = refused.value.text
    assert refused.value.line == line
    assert said.startswith(f"Dockerfile line {line}: ") if line else "line" not in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    "name",
    [
        "oci:/etc", "oci:etc", "dir:/etc", "dir:etc", "docker-archive:/x.tar", "oci-archive:x",
        "containers-storage:x", "docker://python", "docker-daemon:x:y", "http://evil/x",
        "https://evil/x", "tarball:/x", "sif:/x", "ostree:x@/y", "/etc", "./x", "../x", "a//b",
        "python:", "Python", "a/B", "host:port/x", "-x/y", "x@sha256:1", "python@", "py_-thon",
        "\u00e9", "a" * 300, "a" * 2000, "OCI:/etc", "0f" * 32,
    ],
)  # fmt: skip
def test_what_is_no_image_in_a_registry_is_refused(name: str) -> None:
    assert "is not an image's name" in refusal(f"FROM {name}\n", 1)
    assert "is not an image's name" in refusal("ARG X\nFROM $X\n", 2, X=name)
    assert "is not an image's name" in refusal(f"FROM a\nRUN x\nCOPY --from={name} / /\n", 3)
    mount = f"RUN --mount=type=bind,target=/m,from={name} ls"
    assert "is not an image's name" in refusal(f"FROM a\n{mount}\n", 2)


def test_a_stage_in_upper_case_is_named() -> None:
    assert "write FROM one" in refusal("FROM a AS One\nFROM One\n", 2)


@pytest.mark.parametrize("before", ["", "ARG V\n", "ARG V=\n", "ARG V=$W\n", "ARG V=${W:?no}\n"])
@pytest.mark.parametrize("name", ["$V", "a:$V", "${V}/a", "--platform=$V a"])
def test_a_variable_without_a_value_is_refused_by_name(before: str, name: str) -> None:
    said = refusal(f"{before}FROM {name}\n", 1 + before.count("\n"))
    assert "declare ARG V above the first FROM" in said


def test_a_variable_without_a_value_that_is_not_missed_is_no_matter() -> None:
    found = read("FROM python${V}\n", build_args={})
    assert found.bases[0].reference == "docker.io/library/python:latest"


def test_from_takes_no_variables_in_flags() -> None:
    assert "write FROM $V AS" in refusal("FROM a\nARG V=b\nCOPY --from=$V / /\n", 3)
    assert "does not expand" in refusal("FROM a\nRUN --mount=from=b:$V,target=/x ls\n", 2)


@pytest.mark.parametrize("platform", ["foo", "linux/", "linux/a/b/c", "linux/*", "lin\u00fcx/x"])
def test_platforms_that_cannot_be_read_are_refused(platform: str) -> None:
    assert "is no platform" in refusal(f"FROM --platform={platform} a\n", 1)


@pytest.mark.parametrize(
    "mount",
    [
        "type=secret,id=x,required", "type=secret,id=x,required=true",
        "id=x,type=SECRET,required=1",
        "type=secret,id=x,required=false,required=T", "type='secret',id=x,required",
    ],
)  # fmt: skip
def test_secrets_that_are_required_are_refused(mount: str) -> None:
    said = refusal(f"FROM a\nRUN --mount=type=tmpfs,target=/t --mount={mount} x\n", 2)
    assert "builds here get no secrets yet" in said


def test_an_ssh_agent_that_is_required_is_refused() -> None:
    assert "no SSH agents" in refusal("FROM a\nRUN --mount=type=ssh,required x\n", 2)


@pytest.mark.parametrize(
    "mount",
    [
        "type=secret,id=x", "type=ssh", "type=secret,id=x,required=false", "required,type=secret",
        "type=secret,id=x,required=$R", "type=$T,required", "type=bind,required",
    ],
)  # fmt: skip
def test_what_is_optional_or_unknown_is_left_to_buildkit(mount: str) -> None:
    assert len(read(f"FROM a\nRUN --mount={mount},target=/x y\n", build_args={}).steps) == 2


def test_insecure_steps_are_refused() -> None:
    assert "--security=insecure" in refusal("FROM a\nRUN --security=insecure x\n", 2)


@pytest.mark.parametrize("mode", ["u+x", "a=rwx", "$MODE", "0o755", "9", "0755x"])
@pytest.mark.parametrize("word", ["COPY", "ADD"])
def test_modes_that_would_be_left_out_in_silence_are_refused(word: str, mode: str) -> None:
    assert "modes are octal" in refusal(f"FROM a\n{word} --chmod={mode} a b\n", 2)


@pytest.mark.parametrize("mode", ["755", "0755", "00001777", '"644"'])
def test_octal_modes_are_kept(mode: str) -> None:
    assert f"--chmod={mode} " in read(f"FROM a\nCOPY --chmod={mode} a b\n", build_args={}).text


@pytest.mark.parametrize(
    "line",
    [
        "ENV A=${B#}", "LABEL a=${B%}", "WORKDIR ${B:#}", "COPY ${B#} x", "ARG A=${B%}",
        "USER ${B#}",
        "RUN echo ${PATH#}", 'RUN echo "${PATH%}"', "RUN echo ${A:-${PATH#}}", "EXPOSE ${B#}",
        "RUN <<E\necho ${PATH#}\nE", "COPY <<E /x\n${B#}\nE", "VOLUME ${B#}", "RUN x ${MINE#}",
        "STOPSIGNAL ${B#}", "ADD ${B%} x", 'RUN ["x", "${PATH#}"]',
    ],
)  # fmt: skip
def test_what_crashes_the_daemon_is_refused(line: str) -> None:
    assert "BuildKit crashes" in refusal(f"FROM a\nENV MINE=1\n{line}\n", 3)


def test_what_crashes_the_daemon_above_from_is_refused() -> None:
    assert "BuildKit crashes" in refusal("ARG A=${B#}\nFROM a\n", 1)
    assert "BuildKit crashes" in refusal("FROM ${A#} AS unused\nFROM a\n", 1)


@pytest.mark.parametrize(
    "line",
    [
        "RUN for f in *; do echo ${f%}; done", "RUN echo '${PATH#}'", "RUN echo \\${PATH#}",
        "CMD echo ${PATH#}", "RUN echo ${PATH##}", "RUN echo ${PATH#x}", "ENV A='${B#}'",
        "COPY <<'E' /x\n${B#}\nE", "RUN cat <<E\n\n1\n${PATH#}\nE", "HEALTHCHECK CMD echo ${PATH#}",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_crash_is_kept(line: str) -> None:
    assert line in read(f"FROM a\n{line}\n", build_args={}).text


@pytest.mark.parametrize(
    "text",
    [
        "FROM a AS one\nCOPY --from=two / /\nFROM b AS two\nFROM one\n",
        "FROM a AS one\nCOPY --from=1 / /\nFROM one AS two\n",
        "FROM a AS one\nRUN --mount=from=two,target=/x ls\nFROM one AS two\n",
        "FROM a AS one\nCOPY --from=one / /\n",
        "FROM a AS one\nCOPY --from=ONE / /\nFROM one AS one\n",
    ],
)
def test_stages_that_need_a_later_one_are_refused(text: str) -> None:
    """Where they need each other, the daemon's stack overflows."""
    assert "move that stage up" in refusal(text, 2)


@pytest.mark.parametrize("nothing", ["", "\n\n", "# only a comment\n", "ARG X=1\n"])
def test_a_dockerfile_without_from_is_refused(nothing: str) -> None:
    assert "there is no FROM" in refusal(nothing, None)


def test_only_arg_may_come_before_from() -> None:
    assert "RUN comes before the first FROM" in refusal("ARG A\nRUN x\nFROM a\n", 2)


@pytest.mark.parametrize("target", ["two", "0", "stage-1", "scratch"])
def test_a_target_that_is_no_stage_is_refused(target: str) -> None:
    said = refusal("FROM a AS one\nFROM b\n", None, target=target)
    assert "there is no stage named" in said
    assert "(one)" in said


def test_bytes_that_no_dockerfile_holds_are_refused() -> None:
    assert "NUL" in refusal("FROM a\nRUN \0\n", 2)
    assert "surrogate" in refusal("FROM a\nRUN \ud800\n", 2)


def test_a_line_of_65535_bytes_is_the_longest() -> None:
    longest = "RUN " + "\u00e9" * 32765 + "x"
    assert len(longest.encode()) == 65535
    read(f"FROM a\n{longest}\nRUN {'x' * 65531}", build_args={})
    assert "65536 bytes" in refusal(f"FROM a\n{longest}x\n", 2)
    assert "65536 bytes" in refusal(f"FROM a\nRUN x\nRUN {'x' * 65532}", 3)


def test_a_line_that_our_names_make_too_long_is_refused() -> None:
    mount = "RUN --mount=from=a,target=/x "
    assert "may have 65535" in refusal(f"FROM a\n{mount}{'x' * (65535 - len(mount))}\n", 2)


def test_a_huge_dockerfile_is_refused() -> None:
    lines = f"#{'x' * 1000}\n" * 1047
    assert "larger than 1 MiB" in refusal(f"FROM a\n{lines}", None)
    assert "larger than 1 MiB" in refusal(f"FROM a\n{lines[:600_000].replace('x', chr(233))}", None)


def test_more_instructions_than_one_message_to_buildkit_holds_are_refused_with_a_line() -> None:
    run = "RUN true && \\\n" + "".join(f"true {'x' * 49_000} && \\\n" for _ in range(6)) + "true\n"
    fits = f"FROM a\n{run}COPY <<EOF /f\n{run}EOF\n"
    read(fits, build_args={}, platform="linux/amd64")
    long = f"RUN true {'x' * 60_000}\n"
    assert "655,360 are allowed" in refusal(f"{fits}{long}{long}", 21)
    unused = f"FROM a AS unused\n{run}{run}{run}FROM a\nRUN true\n"
    read(unused, build_args={}, platform="linux/amd64")
