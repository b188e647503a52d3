"""Fetches one base image from its registry into a store: resolve, check, copy, verify."""

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeVar

from builds.build_spec import Base, StepOutput
from builds.engines.base import TICK_SECONDS, BuildInterrupted, EngineBroken
from builds.engines.base_images.addresses import AddressPolicy
from builds.engines.base_images.faults import Away, fault
from builds.engines.base_images.file_lock import FileLock
from builds.engines.base_images.manifest import (
    MAX_CONFIG_BYTES,
    MAX_MANIFEST_BYTES,
    Blob,
    Manifest,
    NotUsable,
    Platform,
    check_platform,
    digest_of,
    megabytes,
    platform,
    read_config,
    read_manifest,
)
from builds.engines.base_images.registries import split_reference
from builds.engines.base_images.sandbox import Fetch, Fetched, FetchSandbox
from builds.engines.base_images.socks import Traffic
from builds.engines.base_images.store import BaseStore, DamagedBlob, Known, StoredImage
from builds.engines.sandbox.settings import EngineSettings

T = TypeVar("T")
Events = Generator[StepOutput, None, T]

logger = logging.getLogger(__name__)

TICK = StepOutput("stderr", b"")
MAX_INDEXES = 3
ATTEMPTS = 2
RETRY_SECONDS = 1.0
PROGRESS_SECONDS = 10.0
MAX_LOGGED = 500
# Allowed traffic beside the layers: requests, responses, TLS, manifests and configurations.
MESSAGE_BYTES = 16 << 20
OVERHEAD = 1.1


class BaseHold:
    """The locks of the images that a build uses. None is evicted before the hold is closed."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, lock: FileLock) -> None:
        self._stack.callback(lock.release)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One base to fetch: its reference, the store to write to, and the credentials."""

    base: Base
    store: BaseStore
    other: BaseStore | None = None
    """Another store whose blobs may be reused."""
    pin: str
    """The digest to fetch. Empty: ask the registry for the tag's digest."""
    policy: AddressPolicy
    credentials: Callable[[Path], Path | None] = lambda _: None
    """Writes a credentials file into the given folder and returns its path. None without any."""
    token: str = field(default="", repr=False)
    """Bearer token for the registry, used instead of credentials."""

    @property
    def name(self) -> str:
        """Host and repository."""
        return split_reference(self.base.reference)[0]

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.pin}" if self.pin else self.base.reference

    @property
    def platform(self) -> Platform:
        return platform(self.base.platform)

    @property
    def key(self) -> str:
        """Identifies fetches of the same reference and platform."""
        return f"{self.reference} {self.platform}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    digest: str
    """Digest of what the registry answered for the reference: an index or a manifest."""
    reference: str
    """Reference of the manifest, by digest."""
    manifest: Manifest


class BaseFetch:
    """Fetches one source.

    The generators yield progress and ticks. They raise NotUsable, Away, EngineBroken or
    ProcessError.
    """

    def __init__(
        self, settings: EngineSettings, sandbox: FetchSandbox, source: Source, hold: BaseHold
    ) -> None:
        self._settings = settings
        self._sandbox = sandbox
        self._source = source
        self._store = source.store
        self._hold = hold
        self._until = 0.0
        self._folder = Path()
        self._auth_file: Path | None = None

    def run(self, *, pull: bool) -> Events[StoredImage]:
        """Return the image of the reference, and add its lock to the hold.

        With `pull`, ask the registry even if the stored copy is fresh.
        """
        key = self._source.key
        while (lock := self._store.lock(key)) is None:
            time.sleep(TICK_SECONDS)
            yield TICK
        try:
            self._until = time.monotonic() + self._settings.base_timeout_seconds
            known = self._store.known(key)
            if known is None:
                return (yield from self._renew(None))
            image = yield from self._held(known.manifest)
            if image is None:
                return (yield from self._renew(None))
            is_fresh = 0 <= time.time() - known.at < self._settings.base_refresh_seconds
            if self._source.pin or (is_fresh and not pull):
                return image
            try:
                return (yield from self._renew(known))
            except Away as problem:
                reason = str(problem).removeprefix("could not be pulled: ")
                name = self._source.base.reference
                yield _line(f"Using the copy of {name} that was pulled earlier: {reason}.\n")
                return image
        finally:
            lock.release(remove=True)

    def _renew(self, known: Known | None) -> Events[StoredImage]:
        """Ask the registry, and fetch what is new. `known` is the record of the stored copy."""
        self._folder = self._store.download_folder(self._source.key)
        try:
            self._auth_file = self._source.credentials(self._folder)
            return (yield from self._compare(known))
        finally:
            self._store.discard_download(self._folder)

    def _compare(self, known: Known | None) -> Events[StoredImage]:
        answer = yield from self._ask(known)
        if answer is None:
            assert known is not None  # noqa: S101  (only then is there no answer)
            image = yield from self._held(known.manifest)
        else:
            known = Known(answered=answer.digest, manifest=answer.manifest.digest, at=0)
            image = yield from self._held(known.manifest)
            if image is None:
                yield from self._download(answer)
                image = self._store.image(known.manifest)
        if image is None:
            raise EngineBroken("A base image was lost while it was stored.", code="store")
        check_platform(read_config(image.config.read_bytes()), self._source.platform)
        self._store.note(self._source.key, replace(known, at=time.time()))
        return image

    def _held(self, digest: str) -> Events[StoredImage | None]:
        while (lock := self._store.hold(digest)) is None:
            time.sleep(TICK_SECONDS)
            yield TICK
        self._hold.add(lock)
        return self._store.image(digest)

    def _ask(self, known: Known | None) -> Events[_Answer | None]:
        """Resolve the reference to a manifest. None if the registry's answer has not changed."""
        reference, first = self._source.reference, ""
        for _ in range(MAX_INDEXES):
            raw = yield from self._inspect("--raw", reference, MAX_MANIFEST_BYTES)
            _, at, pin = reference.partition("@")
            if at and not _has_digest(raw, pin):
                raise NotUsable("is damaged: its registry sent something else than was asked for")
            first = first or digest_of(raw)
            if known is not None and first == known.answered:
                return None
            found = read_manifest(
                raw,
                max_layers=self._settings.base_max_layers,
                max_bytes=self._settings.base_max_bytes,
            )
            if isinstance(found, Manifest):
                pinned = reference if at else f"{self._source.name}@{found.digest}"
                return _Answer(digest=first, reference=pinned, manifest=found)
            reference = f"{self._source.name}@{found.choose(self._source.platform)}"
        raise NotUsable("is not an image: its index leads to indexes only")

    def _download(self, answer: _Answer) -> Events[None]:
        """Copy a manifest and its blobs into the store. The image's lock must be held."""
        manifest, store = answer.manifest, self._store
        store.expect(manifest)
        config = yield from self._config(answer)
        check_platform(read_config(config), self._source.platform)
        if self._source.other is not None:
            for blob in manifest.blobs:
                store.link(self._source.other, blob)
        layers = [blob for blob in manifest.blobs if blob.digest != manifest.config.digest]
        missing = [blob for blob in layers if not store.has(blob)]
        size = sum(blob.size for blob in missing)
        self._check_space(size)
        yield _line(f"Pulling {self._source.base.reference} ({megabytes(size)})\n")
        if missing:
            yield from self._copy(answer, missing, [blob for blob in layers if store.has(blob)])
        store.put(manifest.config.digest, config)
        store.put(manifest.digest, manifest.raw)

    def _config(self, answer: _Answer) -> Events[bytes]:
        config = answer.manifest.config
        if self._store.has(config):
            return self._store.blob(config.digest).read_bytes()
        raw = yield from self._inspect("--config", answer.reference, MAX_CONFIG_BYTES)
        for each in (raw, raw.removesuffix(b"\n")):
            if len(each) == config.size and _has_digest(each, config.digest):
                return each
        raise NotUsable("is damaged: its registry sent another configuration than it named")

    def _check_space(self, size: int) -> None:
        free = shutil.disk_usage(self._store.root).free
        if free - size < self._settings.reserve_bytes:
            raise EngineBroken(
                f"There is too little disk space for a base image of {megabytes(size)}.",
                code="disk",
            )

    def _copy(self, answer: _Answer, missing: list[Blob], known: list[Blob]) -> Events[None]:
        """Copy layers into a folder of the sandbox, verify them, and move them into the store."""
        folder = self._folder / "layout"
        folder.mkdir()
        # An OCI layout takes OCI manifests unchanged. skopeo converts Docker's; layers stay equal.
        format_options = () if answer.manifest.is_docker else ("--preserve-digests",)
        size = sum(blob.size for blob in missing)
        try:
            yield from self._skopeo(
                (
                    *("copy", "--quiet", "--remove-signatures", *format_options),
                    *("--dest-oci-accept-uncompressed-layers", f"docker://{answer.reference}"),
                    "oci:/out:base",
                ),
                max_bytes=int(size * OVERHEAD) + MESSAGE_BYTES,
                out=folder,
                known={_blob_path(blob): self._store.blob(blob.digest) for blob in known},
                total=size,
            )
            for blob in missing:
                for _ in self._store.adopt(folder, blob):
                    yield TICK
        except DamagedBlob as error:
            logger.info("%s: %s", self._source.base.reference, error)
            raise NotUsable("is damaged: its layers are not what its manifest names") from error

    def _inspect(self, what: str, reference: str, max_output: int) -> Events[bytes]:
        options = ("--raw",) if what == "--raw" else ("--raw", what)
        fetched = yield from self._skopeo(
            ("inspect", "--no-tags", *options, f"docker://{reference}"),
            max_bytes=MESSAGE_BYTES,
            max_output=max_output + 1,
        )
        return fetched.output

    def _skopeo(
        self,
        arguments: tuple[str, ...],
        *,
        max_bytes: int,
        max_output: int = 1 << 16,
        out: Path | None = None,
        known: dict[str, Path] | None = None,
        total: int = 0,
    ) -> Events[Fetched]:
        """Run skopeo. Retry once if the registry was unreachable or skopeo was killed."""
        for attempt in range(1, ATTEMPTS + 1):
            fetch = Fetch(
                arguments=arguments,
                policy=self._source.policy,
                max_bytes=max_bytes,
                max_output=max_output,
                until=self._until,
                auth_file=self._auth_file,
                token=self._source.token,
                out=out,
                known=known or {},
            )
            fetched = yield from _with_progress(self._sandbox.run(fetch), fetch.traffic, total)
            if fetched.exit_code == 0:
                return fetched
            if fetched.never_started:
                logger.error("the sandbox for base images failed: %r", fetched.errors)
                raise EngineBroken("The sandbox for base images does not start.", code="fetch")
            if fetched.was_killed:
                if attempt == ATTEMPTS:
                    text = "The program that fetches base images was killed."
                    raise BuildInterrupted(text, code="fetch")
                continue
            problem = fault(
                fetched,
                timeout_seconds=self._settings.base_timeout_seconds,
                max_bytes=max_bytes,
            )
            logger.info(
                "skopeo failed for %s: %r",
                self._source.base.reference,
                fetched.errors[-MAX_LOGGED:],
            )
            if isinstance(problem, NotUsable) or not problem.retry or attempt == ATTEMPTS:
                raise problem
            yield from _pause(RETRY_SECONDS)
        raise AssertionError("unreachable")


def _with_progress(run: Events[Fetched], traffic: Traffic, total: int) -> Events[Fetched]:
    """Every PROGRESS_SECONDS, report how many of `total` bytes have arrived."""
    said_at = time.monotonic()
    with closing(run):
        while True:
            try:
                event = next(run)
            except StopIteration as end:
                fetched: Fetched = end.value
                return fetched
            yield event
            if total and time.monotonic() - said_at >= PROGRESS_SECONDS:
                said_at = time.monotonic()
                received = min(traffic.received, total)
                yield _line(f"  {megabytes(received)} of {megabytes(total)}\n")


def _pause(seconds: float) -> Events[None]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(TICK_SECONDS)
        yield TICK


def _line(text: str) -> StepOutput:
    return StepOutput("stderr", text.encode())


def _has_digest(raw: bytes, digest: str) -> bool:
    algorithm, _, wanted = digest.partition(":")
    known: dict[str, Callable[[bytes], hashlib._Hash]] = {
        "sha256": hashlib.sha256,
        "sha512": hashlib.sha512,
    }
    return algorithm in known and known[algorithm](raw).hexdigest() == wanted


def _blob_path(blob: Blob) -> str:
    return f"blobs/sha256/{blob.digest.removeprefix('sha256:')}"
