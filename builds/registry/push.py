"""Pushes a finished image from its folder into a registry, over the distribution API.

Layers are streamed from the disk, a few at once. The registry checks what it gets against the
digest. An event loop of each push runs while the push is driven, so that it can tick and be closed
at any moment, from a thread that knows nothing of asyncio.
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
"""Waits before the next try. What was pushed before is there already, so a try costs little."""
CONNECTIONS = 4
ANSWER_SECONDS = 600.0
"""How long a registry may take to check and store a layer that it has got."""
PROGRESS_SECONDS = 10.0
PIECE_BYTES = 1 << 18
SMALL_BYTES = 16 << 20
"""No manifest is larger."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REASON_CHARACTERS = 300
T = TypeVar("T")


class PushFailed(RegistryError):
    """The image did not arrive, after all tries that made sense."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The bytes that a digest is the digest of."""

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
    """The config first."""


class _Problem(Exception):
    """A try ended. `lasting` where the next one would end alike."""

    def __init__(self, text: str, *, lasting: bool) -> None:
        super().__init__(text)
        self.lasting = lasting


def push_layout(
    layout: Path, *, endpoint: Endpoint, repository: str, tag: str, auth: RegistryAuth
) -> Generator[Output, None, Manifest]:
    """Pushes the one image in an OCI layout to `host/repository:tag`, its digest unchanged.

    Yields what is to be said of it, and a tick at least every TICK_SECONDS; closing it ends the
    push. Returns the manifest that was pushed. Raises PushFailed.
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
    """One try."""

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
        """What is to be said since the last time."""
        if self._sent < self._to_send and monotonic() - self._told_at >= PROGRESS_SECONDS:
            self._told_at = monotonic()
            self._said.append(f"  {self._sent >> 20} of {self._to_send >> 20} MiB\n")
        said, self._said = "".join(self._said), []
        return said.encode()

    async def run(self) -> None:
        """Raises _Problem."""
        async with self._client:
            try:
                first, *others = self._image.blobs
                # The first answer says which credentials the rest needs.
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
        # Registries send readers on to where they store blobs.
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
        # Whatever host it names, this registry is asked. An upload may be lost with its process.
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
    """A layer on its way, from its beginning each time that it is asked for."""

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
    """Runs one try to its end, or cancels it when it is closed."""
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
    """The results of all of them. The first that fails ends the others."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def check_layout(layout: Path) -> None:
    """A build that broke its wall could have left links to the host's files, or pipes, in here."""
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
    # The same layer twice is one blob.
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
    if not _DIGEST.fullmatch(digest):
        raise ValueError("a digest that is none")
    return layout / "blobs/sha256" / digest.removeprefix("sha256:")


def read_small(path: Path) -> bytes:
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > SMALL_BYTES:
            raise ValueError(f"{path.name} is too large")
        return file.read(size)


def _open(path: Path) -> IO[bytes]:
    """A plain file, never through a link and never a pipe that makes its reader wait."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.fdopen(fd, "rb")


def _is_about_tls(error: BaseException | None) -> bool:
    """Whether it comes of certificates, or of a registry that speaks plain HTTP."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _REASON_CHARACTERS else f"{text[:_REASON_CHARACTERS]}…"
