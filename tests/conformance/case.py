"""The cases of the suite: `cases/*.toml`, and those that are too long to write down.

A case is a Dockerfile with its context and options, and what it must build:

    [[case]]
    name = "copy-renames"           # unique
    promise = "COPY to a path without a trailing slash names the file"
    quick = true                    # part of `make test`
    dockerfile = '''
    FROM scratch
    COPY a.txt /b
    '''
    output = ["text"]               # what the build must print

    [case.options]                  # build_args, target, labels, no_cache
    target = "app"

    [case.context]                  # a name that ends in "/" is a folder
    "a.txt" = "A"                   # its content; 0644 for files, 0755 for folders, or
    "b.sh" = { content = "B", mode = 0o755 }
    "link" = { link = "a.txt" }
    "x.bin" = { base64 = "AA==" }
    "t.tar.gz" = { archive = "gz", members = { "a" = "A" } }    # or "bz2", "xz", "tar"
    "cut.tgz" = { archive = "gz", random = 20_000, keep = 10_000 }  # a random file, cut off

    [case.files]                    # paths in the image; a name that ends in "/" is a folder
    "/b" = "A"                      # its content, or
    "/c" = { content = "C", mode = 0o644, owner = "0:0", contains = "C", mtime = 0 }
    "/l" = { link = "b" }
    "/h" = { same_as = "/b" }       # a hard link
    "/i" = { same_content_as = "/b" }
    "/x" = { kind = "fifo", size = 0, xattr = "security.capability" }
    "/gone" = false                 # must not exist
    "/there" = true                 # must exist

    [case.listing]
    "/d" = ["a", "a/b"]             # all that is below a folder, however deep

    [case.config]                   # of the image; false: not set
    Cmd = ["sh"]

    [case.failure]                  # instead of files, listing, config
    text = "not found"              # must occur in what the user is told, in any case of letters
    exit_code = 7                   # of the RUN that failed
    line = 3                        # of the Dockerfile

    [case.slipway]                  # where Slipway is meant to differ from `docker build`
    reason = "why"                  # left out where only the words of a refusal differ
    refusal = { text = "ids end at 65535", line = 3 }   # as in [case.failure]; or
    files = { "/b" = "B" }          # what it builds instead
    without_docker = true           # the case must not reach the plain dockerd
"""

import base64
import bz2
import gzip
import io
import lzma
import os
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

CASES = Path(__file__).parent / "cases"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gz": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
CONTEXT_TIME = 1_577_836_800
"""When every file of a context was changed: 2020-01-01T00:00:00Z."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `POST /images/` takes beside Dockerfile and context."""

    build_args: dict[str, str] = field(default_factory=dict)
    target: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    no_cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a build must fail."""

    text: str
    exit_code: int | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where Slipway deliberately does something else than `docker build`."""

    reason: str = ""
    """Empty where both refuse, in other words."""
    refusal: Failure | None = None
    without_docker: bool = False
    """Not given to the plain dockerd, which would crash or take minutes."""
    files: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One Dockerfile with all that belongs to it."""

    name: str
    promise: str
    dockerfile: str
    quick: bool = False
    options: Options = field(default_factory=Options)
    context: dict[str, Any] = field(default_factory=dict)
    output: list[str] = field(default_factory=list)
    files: dict[str, Any] = field(default_factory=dict)
    listing: dict[str, list[str]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    slipway: Difference | None = None

    def __post_init__(self) -> None:
        expected = (self.files, self.listing, self.config, self.output, self.failure)
        assert any(expected), f"{self.name} expects nothing"


def load_cases() -> Iterator[Case]:
    """Every case of the TOML files, file by file in alphabetical order."""
    for path in sorted(CASES.glob("*.toml")):
        for values in tomllib.loads(path.read_text())["case"]:
            yield _case(values)


def _case(values: dict[str, Any]) -> Case:
    try:
        made: dict[str, Any] = {}
        if "options" in values:
            made["options"] = Options(**values["options"])
        if "failure" in values:
            made["failure"] = Failure(**values["failure"])
        if "slipway" in values:
            refusal = values["slipway"].get("refusal")
            refused = {"refusal": Failure(**refusal)} if refusal else {}
            made["slipway"] = Difference(**values["slipway"] | refused)
        return Case(**values | made)
    except TypeError as error:
        raise ValueError(f"case {values.get('name')}: {error}") from error


def write_context(case: Case, folder: Path) -> None:
    """Write the context of a case with its Dockerfile into a new folder."""
    folder.mkdir()
    (folder / "Dockerfile").write_bytes(case.dockerfile.encode())
    for name, entry in case.context.items():
        _write(
            folder / name,
            name.endswith("/"),
            {"content": entry} if isinstance(entry, str) else entry,
        )
    for each in [folder, *folder.rglob("*")]:
        os.utime(each, (CONTEXT_TIME, CONTEXT_TIME), follow_symlinks=False)


def _write(path: Path, is_folder: bool, entry: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        path.mkdir(exist_ok=True)
        path.chmod(entry.get("mode", 0o755))
    elif "link" in entry:
        path.symlink_to(entry["link"])
    else:
        path.write_bytes(_content(entry))
        path.chmod(entry.get("mode", 0o644))


def _content(entry: dict[str, Any]) -> bytes:
    if "base64" in entry:
        return base64.b64decode(entry["base64"])
    if "archive" in entry:
        random = Random(0).randbytes(entry.get("random", 0))
        members = {name: text.encode() for name, text in entry.get("members", {}).items()}
        whole = _archive(entry["archive"], members | ({"random": random} if random else {}))
        return whole[: entry.get("keep")]
    return str(entry["content"]).encode()


def _archive(compression: str, members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o640, CONTEXT_TIME
            member.uid, member.gid = 11, 12
            archive.addfile(member, io.BytesIO(content))
    return COMPRESS[compression](file.getvalue())
