"""What is built while everything goes wrong, and what must be stored of it in the end."""

import hashlib
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from builds.logs.archive_format import Index
from builds.logs.store import decode
from tests.conftest import script
from tests.faults.readers import Reader

ARCHIVE_SECONDS = 100
"""A log of a dead worker is left to it for a minute."""
PRINTED = re.compile(r"\d+ step\d+ x*")
Query = Callable[[str], list[tuple[Any, ...]]]
"""Runs one statement on the database of the instance, whichever it is."""


@dataclass(frozen=True)
class Printing:
    """A build that prints lines, no two alike, for about so many seconds."""

    dockerfile: str
    prints: list[str]

    @classmethod
    def random(cls, seed: int, *, steps: int, seconds: float) -> "Printing":
        chance = random.Random(seed)
        found: list[str] = []
        prints: list[str] = []
        for n in range(steps):
            count, text = chance.randrange(1, 60), f"step{n} x{'x' * chance.randrange(200)}"
            found.append(f"repeat {count} {text}")
            prints += [f"{k} {text}" for k in range(count)]
            found.append(f"sleep {chance.uniform(0.2, 1.8) * seconds / steps:.3f}")
        return cls(script(*found), prints)


def wait_for_archives(query: Query) -> None:
    """Until every log is in its archive, no build is left that has not ended, and images say so."""
    until = time.monotonic() + ARCHIVE_SECONDS
    while left := query("SELECT label, number, status FROM builds_build WHERE archive_key = ''"):
        assert time.monotonic() < until, left
        time.sleep(0.5)
    assert not query(
        "SELECT label, status, state FROM images_image "
        "JOIN builds_build ON builds_build.id = current_id WHERE state <> status"
    )


def archived_text(query: Query, files: Path, image_id: str, printing: Printing) -> str:
    """Of all attempts at an image, each of which must be the same in chunks and archive.

    Every attempt printed what its script says as far as it came, and the last one all of it.
    """
    found = query(
        "SELECT id, number, log_lines, archive_key FROM builds_build "
        f"WHERE image_id = '{UUID(image_id).hex}' ORDER BY number"
    )
    texts = []
    for at, (build_id, number, lines, key) in enumerate(found, 1):
        assert number == at
        chunks = query(
            "SELECT data FROM builds_logchunk "
            f"WHERE build_id = '{UUID(str(build_id)).hex}' ORDER BY seq"
        )
        stored = [line.text for (data,) in chunks for line in decode(bytes(data))]
        assert len(stored) == lines
        with (files / key).open("rb") as file:
            index = Index.read(file)
            text = b"".join(index.text(file, frame) for frame in index.frames).decode()
        assert text == "".join(f"{line}\n" for line in stored)
        printed = [line for line in stored if PRINTED.fullmatch(line)]
        assert printed == printing.prints[: len(printed)]
        assert number < len(found) or len(printed) == len(printing.prints)
        texts.append(text)
    return "".join(texts)


def check(readers: Sequence[Reader], text: str, client: httpx.Client) -> None:
    """All readers of one image against the text of its archive, and what is served of that."""
    image_id = readers[0].image_id
    # Not as stored: some versions of httpx cannot read several frames of zstd.
    plain = {"Accept-Encoding": "identity"}
    answer = client.get(f"/images/{image_id}/logs?offset=1:0", headers=plain)
    assert answer.text == text
    expected = hashlib.sha256(text.encode()).hexdigest()
    for reader in readers:
        assert reader.status == "built and pushed", (reader, reader.status)
        assert reader.hash.hexdigest() == expected, (reader, reader.lines, text.count("\n"))
