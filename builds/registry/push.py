"""Pushes a finished image from its folder to a registry, over the distribution API.

Layers are streamed from disk, several at once. The registry verifies them against their digests.
Each push has its own event loop, which runs only while the generator is advanced. So the push can
yield ticks and be closed at any time by a thread without asyncio.
"""

import asyncio
import hashlib
import json
import os
import re
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any, TypeVar

import httpx

from builds.build_spec import Output
from builds.registry.auth import RegistryAuth, RegistryError
from builds.registry.endpoint import TIMEOUT_SECONDS, TRANSIENT, Endpoint, tls

TICK_SECONDS = 0.25
RETRY_SECONDS = (1.0, 4.0, 10.0)
"""Seconds to wait before each further attempt. Blobs that were pushed are not sent again."""
CONNECTIONS = 4
ANSWER_SECONDS = 600.0
"""How long in seconds a registry may take to verify and store a received layer."""
PROGRESS_SECONDS = 10.0
PIECE_BYTES = 1 << 18
SMALL_BYTES = 16 << 20
"""Maximum size of a manifest."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REASON_CHARACTERS = 300
T = TypeVar("T")


class PushFailed(RegistryError):
    """The push failed, after all useful retries."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest and its digest."""

    digest: str
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Blob:
    digest: str
    size: int
    path: Path


@dataclass(frozen=True, slots=True)
class _Image:
    manifest: Manifest
    blobs: tuple[_Blob, ...]
    """The config comes first."""


class _Problem(Exception):
    """An attempt failed. `lasting`: a further attempt would fail in the same way."""

    def __init__(self, text: str, *, lasting: bool) -> None:
        super().__init__(text)
        self.lasting = lasting


def push_layout(
    layout: Path, *, endpoint: Endpoint, repository: str, tag: str, auth: RegistryAuth
) -> Generator[Output, None, Manifest]:
    """Push the single image in an OCI layout to `host/repository:tag`, with unchanged digest.

    Yields output for the log, and a tick at least every TICK_SECONDS. Closing the generator aborts
    the push. Returns the pushed manifest. Raises PushFailed.
    """
    reference = f"{endpoint.host}/{repository}:{tag}"
    check_layout(layout)
    try:
        image = _read_image(layout)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        text = f"pushing {reference} failed: not an OCI layout with one image: {error!r}"
        raise PushFailed(_shortened(text)) from error
    for wait in (*RETRY_SECONDS, None):
        push = _Push(image, endpoint, repository, tag, auth)
        problem = yield from _drive(push.run(), push)
        if problem is None:
            return image.manifest
        text = _shortened(str(problem))
        if wait is None or problem.lasting:
            raise PushFailed(f"pushing {reference} failed: {text}") from problem
        yield "stderr", f"Push interrupted, next try in {wait:g} s: {text}\n".encode()
        until = monotonic() + wait
        while monotonic() < until:
            sleep(min(TICK_SECONDS, wait))
            yield "stdout", b""
    raise AssertionError("unreachable")


class _Push:
    """One attempt to push."""

    def __init__(
        self, image: _Image, endpoint: Endpoint, repository: str, tag: str, auth: RegistryAuth
    ) -> None:
        self._image = image
        self._endpoint = endpoint
        self._repository = repository
        self._tag = tag
        self._said: list[str] = []
        self._sent = self._to_send = 0
        self._told_at = monotonic()
        self._client = httpx.AsyncClient(
            auth=auth,
            verify=tls(),
            timeout=httpx.Timeout(TIMEOUT_SECONDS, read=ANSWER_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=CONNECTIONS),
            trust_env=False,
        )

    def output(self) -> bytes:
        """Log output since the last call."""
        if self._sent < self._to_send and monotonic() - self._told_at >= PROGRESS_SECONDS:
            self._told_at = monotonic()
            self._said.append(f"  {self._sent >> 20} of {self._to_send >> 20} MiB\n")
        said, self._said = "".join(self._said), []
        return said.encode()

    async def run(self) -> None:
        """Push everything. Raises _Problem."""
        async with self._client:
            try:
                first, *others = self._image.blobs
                # The first response shows which credentials the other requests need.
                is_there = await self._has(first)
                uploads = [] if is_there else [self._upload(first)]
                await _together([*uploads, *map(self._send, others)])
                await self._put_manifest()
            except OSError as error:
                text = f"the finished image cannot be read: {error.strerror}"
                raise _Problem(text, lasting=True) from error

    async def _send(self, blob: _Blob) -> None:
        if not await self._has(blob):
            await self._upload(blob)

    async def _has(self, blob: _Blob) -> bool:
        # Registries may redirect to their storage of blobs.
        answer = await self._call(
            "HEAD",
            f"/v2/{self._repository}/blobs/{blob.digest}",
            f"for {blob.digest}",
            accepted={200, 404},
            follow_redirects=True,
        )
        return answer.status_code == httpx.codes.OK

    async def _upload(self, blob: _Blob) -> None:
        self._to_send += blob.size
        what = f"to upload {blob.digest}"
        begun = await self._call(
            "POST", f"/v2/{self._repository}/blobs/uploads/", what, accepted={202}
        )
        try:
            place = begun.url.join(begun.headers["location"])
            path = place.copy_merge_params({"digest": blob.digest}).raw_path.decode()
        except (KeyError, httpx.InvalidURL) as error:
            text = f"the registry at {self._endpoint.host} did not say where to upload"
            raise _Problem(text, lasting=True) from error
        # Use only the path: the host in the location is ignored. 404 is retried, since an upload
        # session may be lost when the registry restarts.
        await self._call(
            "PUT",
            path,
            what,
            accepted={201},
            retried={404},
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(blob.size),
            },
            content=_Body(blob, self._count),
        )
        self._said.append(f"Pushed {blob.digest} ({blob.size} bytes)\n")

    async def _put_manifest(self) -> None:
        await self._call(
            "PUT",
            f"/v2/{self._repository}/manifests/{self._tag}",
            f"to tag {self._repository}:{self._tag}",
            accepted={201},
            headers={"Content-Type": self._image.manifest.media_type},
            content=self._image.manifest.content,
        )

    def _count(self, size: int) -> None:
        self._sent += size

    async def _call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        accepted: AbstractSet[int],
        retried: AbstractSet[int] = frozenset(),
        **request: Any,
    ) -> httpx.Response:
        try:
            answer = await self._client.request(method, self._endpoint.url(path), **request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = self._endpoint.unreachable(error)
            raise _Problem(text, lasting=_is_about_tls(error)) from error
        if answer.status_code not in accepted:
            lasting = answer.status_code not in TRANSIENT | retried
            raise _Problem(self._endpoint.refusal(answer, what), lasting=lasting)
        return answer


@dataclass(frozen=True, slots=True)
class _Body:
    """Request body that streams a layer; it starts from the beginning for each request."""

    blob: _Blob
    count: Callable[[int], None]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _open(self.blob.path) as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
                self.count(len(piece))


def _drive(
    work: Coroutine[Any, Any, None], push: _Push
) -> Generator[Output, None, _Problem | None]:
    """Run one attempt to its end. Cancels it when the generator is closed."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)
    try:
        while not task.done():
            loop.run_until_complete(asyncio.wait({task}, timeout=TICK_SECONDS))
            yield "stdout", push.output()
        problem = task.exception()
        if problem is not None and not isinstance(problem, _Problem):
            raise problem
        return problem
    finally:
        task.cancel()
        loop.run_until_complete(asyncio.wait({task}))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all coroutines. If one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def check_layout(layout: Path) -> None:
    """Reject everything but files and folders: a build that escaped its sandbox could have left
    links to the host's files, or pipes. Raises PushFailed."""
    waiting = [layout]
    while waiting:
        path = waiting.pop()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            waiting.extend(path.iterdir())
        elif not stat.S_ISREG(mode):
            raise PushFailed(f"the finished image holds something odd: {path.name!r} is no file")


def _read_image(layout: Path) -> _Image:
    (entry,) = json.loads(read_small(layout / "index.json"))["manifests"]
    content = read_small(blob_path(layout, entry["digest"]))
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != entry["digest"]:
        raise ValueError("the manifest is not what its digest says")
    found = json.loads(content)
    # A layer that occurs twice is one blob.
    parts = {part["digest"]: part for part in [found["config"], *(found["layers"] or [])]}
    blobs = tuple(
        _Blob(digest, int(part["size"]), blob_path(layout, digest))
        for digest, part in parts.items()
    )
    for blob in blobs:
        if blob.path.lstat().st_size != blob.size:
            raise ValueError(f"{blob.digest} has another size than recorded")
    manifest = Manifest(entry["digest"], str(entry["mediaType"]), content)
    return _Image(manifest, blobs)


def blob_path(layout: Path, digest: str) -> Path:
    """Path of a blob in an OCI layout. Raises ValueError for a malformed digest."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError("a digest that is none")
    return layout / "blobs/sha256" / digest.removeprefix("sha256:")


def read_small(path: Path) -> bytes:
    """Read a file of at most SMALL_BYTES. Raises ValueError if it is larger."""
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > SMALL_BYTES:
            raise ValueError(f"{path.name} is too large")
        return file.read(size)


def _open(path: Path) -> IO[bytes]:
    """Open a regular file: follows no links, and does not block on a pipe."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.fdopen(fd, "rb")


def _is_about_tls(error: BaseException | None) -> bool:
    """Whether it is a certificate error, or the registry uses plain HTTP."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _REASON_CHARACTERS else f"{text[:_REASON_CHARACTERS]}…"
