"""Cases that are too long to write down."""

from collections.abc import Iterator

from tests.conformance.case import Case


def generated_cases() -> Iterator[Case]:
    """Each is one Dockerfile made by a loop."""
    yield Case(
        name="layers-120",
        promise="120 layers build, and each one's file is there",
        dockerfile="FROM busybox\n" + "".join(f"RUN echo {n} > /{n}\n" for n in range(120)),
        files={f"/{n}": f"{n}\n" for n in range(120)},
    )
    long = "x" * 60_000
    lines = "".join(f"echo {long} >/dev/null && \\\n" for _ in range(18))
    yield Case(
        name="instruction-of-1-mib",
        promise="an instruction of 1 MiB over many lines builds, and so does the one after it",
        dockerfile=f"FROM busybox\nRUN {lines} echo done > /done\nRUN echo after > /after\n",
        files={"/done": "done\n", "/after": "after\n"},
    )
