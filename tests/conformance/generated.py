"""Cases that are too long to write down."""

from collections.abc import Iterator

from tests.conformance.case import Case, Difference, Failure


def generated_cases() -> Iterator[Case]:
    """Each is one Dockerfile made by a loop."""
    yield Case(
        name="layers-120",
        promise="120 layers build, and each one's file is there",
        dockerfile="FROM busybox\n" + "".join(f"RUN echo {n} > /{n}\n" for n in range(120)),
        files={f"/{n}": f"{n}\n" for n in range(120)},
    )
    yield Case(
        name="instruction-of-120-kb",
        promise="a RUN of 120 KB over three lines builds, and so does the instruction after it",
        dockerfile=f"FROM busybox\n{long_run(2)}RUN echo after > /after\n",
        files={"/done": "done\n", "/after": "after\n"},
    )
    yield Case(
        name="instruction-of-180-kb",
        promise="a RUN above 128 KiB is more than Linux takes as one argument",
        dockerfile=f"FROM busybox\n\n{long_run(3)}",
        output=["argument list too long"],
        failure=Failure(text="exit code", line=3),
    )
    yield Case(
        name="instruction-of-1-mib",
        promise="an instruction of nearly 1 MiB is more than BuildKit takes",
        dockerfile=f"FROM busybox\n\n{long_run(17)}",
        failure=Failure(text="received message larger than max"),
        slipway=Difference(
            reason="docker build takes a minute and names no line",
            refusal=Failure(text="655,360 are allowed", line=3),
            without_docker=True,
        ),
    )
    lines = "".join(f"{n:064}\n" for n in range(5_000))
    yield Case(
        name="heredoc-of-325-kb",
        promise="a file of 325 KB may stand in a heredoc",
        dockerfile=f"FROM scratch\nCOPY <<EOF /file\n{lines}EOF\nCOPY a /after\n",
        context={"a": "A"},
        files={"/file": lines, "/after": "A"},
    )
    yield Case(
        name="line-of-65-kb",
        promise="a line above 65,535 bytes is more than BuildKit's parser takes",
        dockerfile=f"FROM busybox\n\nRUN true {'x' * 66_000}\n",
        failure=Failure(text="allowed size of 65535"),
        slipway=Difference(refusal=Failure(text="66009 bytes", line=3)),
    )
    names = [f"file-{n:04}" for n in range(2_000)]
    yield Case(
        name="context-of-2000-files",
        promise="a context of 2,000 files arrives whole",
        dockerfile="FROM scratch\nCOPY . /c\n",
        context={f"d{n[-1]}/{n}": n for n in names},
        files={f"/c/d{n[-1]}/{n}": n for n in names},
    )


def long_run(lines: int) -> str:
    """A RUN with that many lines of 60 KB, which writes /done."""
    line = f"echo {'x' * 60_000} >/dev/null && \\\n"
    return f"RUN {line * lines} echo done > /done\n"
