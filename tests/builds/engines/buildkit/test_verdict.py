"""Every failure says in one line what happened, where, and what to do; nothing of our insides."""

from pathlib import Path
from typing import Any

import pytest

from builds.build_spec import Step
from builds.engines.base import BuildFailed, EngineBroken, EngineError
from builds.engines.buildkit.verdict import Evidence, excluded_source, shorten, verdict

RUN = "RUN echo a; exit 7"
SNIPPET = "Dockerfile:4\n--------------------\n   3 |     x\n   4 | >>> y\n--------------------\n"


def judge(
    text: str, *, step: str | None = RUN, tail: bytes = b"", exit_code: int = 1, **more: Any
) -> EngineError:
    evidence: dict[str, Any] = {
        "exit_code": exit_code,
        "text": text,
        "step": step and Step(number=3, stage="", position=2, line=4, text=step),
        "step_error": "",
        "step_tail": tail,
        "oom_kills": 0,
        "pids_refused": 0,
        "memory_bytes": 600 << 20,
        "pids": 99,
        "disk_full": False,
    }
    return verdict(
        Evidence(**(evidence | more)),
        original=lambda said: said.replace("slipway-base-1", "python:3.12"),
    )


def failed(code: int, command: str = "/bin/sh -c x") -> str:
    return (
        f'{SNIPPET}ERROR: failed to solve: process "{command}" did not complete '
        f"successfully: exit code: {code}\n"
    )


def test_a_failed_run_has_its_line_and_exit_code() -> None:
    failure = judge(failed(7))
    assert str(failure) == "Dockerfile line 4: RUN echo a; exit 7 failed with exit code 7."
    assert (failure.code, failure.exit_code) == ("step", 7)


@pytest.mark.parametrize(
    "tail",
    [
        b"error during container init: unable to setup user: invalid argument\n",
        b"chown: /f: Invalid argument\n",
        b"npm ERR! TAR_ENTRY_ERROR EINVAL: invalid argument, fchown\n",
        b"tar: package/index.js: Cannot change ownership: fchown: Invalid argument\n",
    ],
)
def test_a_run_that_uses_an_id_above_65535_is_told_where_ids_end(tail: bytes) -> None:
    assert str(judge(failed(1), tail=tail)).endswith("User and group ids end at 65535 here.")


def test_another_invalid_argument_says_nothing_of_ids() -> None:
    assert "65535" not in str(judge(failed(1), tail=b"mount: Invalid argument\n"))


def test_a_long_instruction_is_cut_in_its_middle_and_the_code_stays() -> None:
    failure = judge(failed(7), step="RUN set -eu; " + "echo step; " * 200 + "exit 7")
    assert len(str(failure)) < 250
    assert "RUN set -eu; echo step" in str(failure)
    assert str(failure).endswith("exit 7 failed with exit code 7.")


@pytest.mark.parametrize(
    ("runc", "code", "says"),
    [
        (
            'exec: "/no/such": stat /no/such: no such file or directory',
            127,
            "/no/such does not exist",
        ),
        ('exec: "nosuch": executable file not found in $PATH', 127, "nosuch does not exist"),
        ('exec: "/run.sh": permission denied', 126, "/run.sh is not executable"),
    ],
)
def test_a_program_that_cannot_start_is_127_or_126(runc: str, code: int, says: str) -> None:
    tail = f"runc run failed: unable to start container process: {runc}\n".encode()
    failure = judge(failed(1), tail=tail)
    assert failure.exit_code == code
    assert f"failed with exit code {code}. {says}" in str(failure)


def test_a_crash_is_named() -> None:
    assert "exit code 139. The program crashed (SIGSEGV)." in str(judge(failed(139)))


def test_a_script_with_windows_line_ends_is_hinted_at() -> None:
    failure = judge(failed(127), tail=b"/bin/sh: ./run.sh\r: not found\n")
    assert "Windows line ends" in str(failure)


def test_a_file_that_is_not_executable_is_hinted_at() -> None:
    failure = judge(failed(126), tail=b"/bin/sh: /run.sh: Permission denied\n")
    assert "COPY --chmod=755" in str(failure)


def test_memory_is_named_where_the_step_failed() -> None:
    failure = judge(failed(137), oom_kills=1)
    assert failure.code == "memory"
    assert failure.exit_code == 137
    assert "used more memory than the build's limit of 600 MiB" in str(failure)


def test_processes_are_named_where_they_were_refused() -> None:
    assert "reached its limit of 99 processes" in str(judge(failed(2), pids_refused=3))


@pytest.mark.parametrize(
    ("text", "full"),
    [
        (
            f"{SNIPPET}ERROR: failed to solve: failed to copy files: copy: no space left on device",
            0,
        ),
        ("ERROR: failed to receive status: rpc error: code = Unavailable desc = EOF", 1),
    ],
)
def test_a_full_cache_is_the_verdict_disk(text: str, full: int) -> None:
    failure = judge(text, disk_full=bool(full))
    assert isinstance(failure, BuildFailed)
    assert failure.code == "disk"


def test_a_parse_error_has_its_line_once() -> None:
    text = (
        f"{SNIPPET}ERROR: failed to solve: dockerfile parse error on line 2: "
        "unknown instruction: RUNN (did you mean RUN?)\n"
    )
    failure = judge(text, step=None)
    assert str(failure) == "Dockerfile line 2: unknown instruction: RUNN (did you mean RUN?)"
    assert failure.code == "syntax"


def test_a_missing_source_is_named_without_our_insides() -> None:
    text = (
        f"{SNIPPET}ERROR: failed to solve: failed to compute cache key: failed to calculate "
        "checksum of ref vl265ggiuooahc7mnvs23uaaf::vnkwm434g9eyn15g22126cv08: "
        '"/nothere": not found\n'
    )
    failure = judge(text, step="COPY nothere /x")
    assert str(failure) == "Dockerfile line 4: COPY nothere /x failed: /nothere does not exist."


@pytest.mark.parametrize(
    ("instruction", "said", "found"),
    [
        ("COPY a.log /", '"/a.log": not found', "a.log"),
        ("COPY b.txt /", '"/b.txt": not found', ""),
        ("COPY absent.log /", '"/absent.log": not found', ""),
        ("COPY --from=build a.log /", '"/a.log": not found', ""),
        ("COPY a.log /", "no space left on device", ""),
    ],
)
def test_only_what_the_context_holds_counts_as_an_excluded_source(
    tmp_path: Path, instruction: str, said: str, found: str
) -> None:
    for name in ("a.log", "b.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_text("*.log\n")
    step = Step(number=1, stage="", position=1, line=2, text=instruction)
    assert excluded_source(tmp_path, step, f"ERROR: failed to solve: {said}") == found
    assert excluded_source(tmp_path, None, said) == ""


def test_an_excluded_source_names_dockerignore() -> None:
    failure = judge(
        f'{SNIPPET}ERROR: failed to solve: "/a": not found', step="COPY a /", excluded="a"
    )
    assert ".dockerignore leaves it out" in str(failure)


@pytest.mark.parametrize(
    "said",
    [
        (
            'process "/bin/sh -c id" did not complete successfully: unable to find user 70000: '
            "invalid argument"
        ),
        (
            "failed to copy file info: failed to chown /b/owner/data/buildkit/containerd-overlayfs/"
            "cachemounts/buildkit3111138017/y: lchown /b/owner/data/buildkit/containerd-overlayfs/"
            "cachemounts/buildkit3111138017/y: invalid argument"
        ),
    ],
)
def test_ids_above_the_range_are_said_to_be(said: str) -> None:
    failure = judge(f"{SNIPPET}ERROR: failed to solve: {said}", step="USER 70000")
    assert "ids end at 65535" in str(failure)


def test_no_path_of_the_sandbox_is_shown() -> None:
    said = (
        "failed to x /b/owner/data/buildkit/containerd-overlayfs/cachemounts/buildkit31/etc/y: bad"
    )
    failure = judge(f"{SNIPPET}ERROR: failed to solve: {said}")
    assert "/b/" not in str(failure)
    assert "/etc/y" in str(failure)


def test_a_base_that_only_the_builder_saw_is_refused_plainly() -> None:
    said = (
        "alpine: failed to resolve source metadata for docker.io/library/alpine:latest: could not "
        'resolve image due to policy: source "docker-image://docker.io/library/alpine:latest" '
        "denied by policy: source denied by policy"
    )
    failure = judge(f"{SNIPPET}ERROR: failed to solve: {said}", step=None)
    assert failure.code == "base"
    assert "docker.io/library/alpine:latest" in str(failure)


def test_names_of_ours_are_mapped_back() -> None:
    failure = judge(f"{SNIPPET}ERROR: failed to solve: slipway-base-1: odd\n", step=None)
    assert str(failure) == "Dockerfile line 4: python:3.12: odd"


def test_a_damaged_archive_is_said_to_be() -> None:
    failure = judge(f"{SNIPPET}ERROR: failed to solve: unexpected EOF", step="ADD cut.tgz /t/")
    assert "the archive is damaged" in str(failure)


@pytest.mark.parametrize(("text", "exit_code"), [("", 1), ("", -9), ("ERROR: x", -9)])
def test_a_client_without_a_verdict_is_our_fault(text: str, exit_code: int) -> None:
    assert isinstance(judge(text, exit_code=exit_code, step=None), EngineBroken)


def test_shortening_keeps_both_ends() -> None:
    short = shorten("a" * 50 + "b" * 50, 20)
    assert len(short) == 20
    assert short.startswith("aaa")
    assert short.endswith("bbb")
