"""Uploaded archives as BuildKit sees them: modes, ignored files, and links that point outside."""

import io
import tarfile
from pathlib import Path

import pytest

from builds.build_spec import BuildSpec
from builds.context import unpack
from builds.engines.base import BuildFailed
from tests.builds.context.test_context import archive, entry, link, windows
from tests.builds.engines.conftest import Workshop

pytestmark = pytest.mark.engine
SECRET = "of the host and of nobody's context"


def uploaded(workshop: Workshop, text: str, file: io.BytesIO) -> BuildSpec:
    spec = workshop.spec(text)
    unpack(file, spec.context, tick=lambda: None)
    return spec


def test_what_dockerignore_admits_again_is_copied(workshop: Workshop) -> None:
    file = archive((".dockerignore", b"**\n!**/*.py\n"), ("src/main.py", b""), ("a.log", b""))
    text = "FROM BASE\nCOPY . /c\nRUN test -f /c/src/main.py && test ! -e /c/a.log\n"
    assert workshop.build(uploaded(workshop, text, file)).outcome.digest


def test_a_script_of_a_zip_without_modes_can_be_run(workshop: Workshop) -> None:
    file = windows(archive(("run.sh", b"#!/bin/sh\necho it ran\n")), 0, 0)
    ran = workshop.build(
        uploaded(workshop, "FROM BASE\nCOPY run.sh /\nRUN /run.sh; : ONCE\n", file)
    )
    assert b"it ran\n" in ran.stdout


@pytest.mark.parametrize("ignored", [b".venv\n", b""])
def test_an_absolute_link_is_copied_as_the_link_it_is(workshop: Workshop, ignored: bytes) -> None:
    venv = link(".venv/bin/python", "/usr/bin/python3")
    file = archive(("a.txt", b""), venv, (".dockerignore", ignored))
    there = "! -e" if ignored else "-L"
    text = f"FROM BASE\nCOPY . /c\nRUN test -f /c/a.txt && test {there} /c/.venv/bin/python\n"
    assert workshop.build(uploaded(workshop, text, file)).outcome.digest


def test_a_tar_keeps_modes_times_and_hard_links(workshop: Workshop) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as made:
        info = tarfile.TarInfo("a")
        info.size, info.mode, info.mtime = 1, 0o751, 1_700_000_000
        made.addfile(info, io.BytesIO(b"x"))
        info = tarfile.TarInfo("b")
        info.type, info.linkname, info.mode, info.mtime = tarfile.LNKTYPE, "a", 0o751, 1_700_000_000
        made.addfile(info)
    text = "FROM BASE\nCOPY . /c\nRUN : ONCE; stat -c '%a %Y %s' /c/a /c/b\n"
    ran = workshop.build(uploaded(workshop, text, file))
    assert ran.stdout.count(b"751 1700000000 1\n") == 2


def test_a_source_that_dockerignore_leaves_out_is_told(workshop: Workshop) -> None:
    file = archive((".dockerignore", b"*.log\n"), ("a.log", b""))
    with pytest.raises(BuildFailed, match=r"line 2: .*\.dockerignore leaves it out"):
        workshop.build(uploaded(workshop, "FROM BASE\nCOPY a.log /\n", file))


@pytest.mark.parametrize(
    "steps",
    [
        "COPY link /x\nRUN cat /x",
        "ADD link /x\nRUN cat /x",
        "COPY folder/secret /x\nRUN cat /x",
        "COPY folder /x\nRUN cat /x/secret",
        "COPY up/secret /x\nRUN cat /x",
        "COPY . /x\nRUN cat /x/link /x/folder/secret /x/up/secret",
        "RUN --mount=type=bind,source=link,target=/m cat /m",
        "RUN --mount=type=bind,source=folder,target=/m cat /m/secret",
        "RUN --mount=type=bind,target=/m cat /m/link /m/folder/secret /m/up/secret",
    ],
)
def test_no_link_of_a_context_reaches_what_the_host_has(
    workshop: Workshop, hidden: Path, steps: str
) -> None:
    outside = hidden / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_text(SECRET)
    spec = workshop.spec(f"FROM BASE\nRUN : ONCE\n{steps} || true\nRUN echo control\n")
    up = "../" * len(spec.context.parts) + str(outside).lstrip("/")
    file = archive(
        link("link", str(outside / "secret")), link("folder", str(outside)), link("up", up)
    )
    unpack(file, spec.context, tick=lambda: None)
    for name in ("link", "folder/secret", "up/secret"):
        assert (spec.context / name).read_text() == SECRET  # on the host they lead there
    try:
        said = workshop.build(spec).said
        assert "control" in said
    except BuildFailed as failed:
        said = failed.text
    assert SECRET not in said


@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile.dockerignore"])
def test_an_ignore_file_that_is_a_link_shows_nothing_of_the_host(
    workshop: Workshop, hidden: Path, name: str
) -> None:
    """A pattern that is none would be shown in the error."""
    (hidden / "pattern").write_text(f"[{SECRET}")
    spec = workshop.spec("FROM BASE\nCOPY . /x\nRUN : ONCE; echo control\n")
    file = archive(link(name, str(hidden / "pattern")), (entry("a"), b""))
    unpack(file, spec.context, tick=lambda: None)
    try:
        said = workshop.build(spec).said
        assert "control" in said
    except BuildFailed as failed:
        said = failed.text
    assert SECRET not in said
    plain = workshop.spec("FROM BASE\nCOPY . /x\n", files={name: f"[{SECRET}"})
    with pytest.raises(BuildFailed, match="of the host"):
        workshop.build(plain)
