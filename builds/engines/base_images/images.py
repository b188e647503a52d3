"""The base images of a machine: OCI layouts on disk, given to builds as named contexts.

One store is shared by all owners. Images of Slipway's own registry may be private, so each owner
has a separate store for them, fetched with the owner's access rights.
"""

import shutil
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from builds.build_spec import Base
from builds.engines.base import BuildFailed, EngineBroken
from builds.engines.base_images import addresses, socks
from builds.engines.base_images.addresses import (
    AddressPolicy,
    Endpoint,
    Resolve,
    current_policy,
)
from builds.engines.base_images.faults import Away
from builds.engines.base_images.fetch import TICK, BaseFetch, BaseHold, Events, Source
from builds.engines.base_images.manifest import Config, NotUsable, read_config
from builds.engines.base_images.registries import RegistryRules, split_reference
from builds.engines.base_images.sandbox import FetchSandbox
from builds.engines.base_images.store import BaseStore, evict_unused
from builds.engines.sandbox.settings import EngineSettings
from builds.process import ProcessError


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedBase:
    """A base image in a store. It stays there while its hold is open."""

    base: Base
    digest: str
    """Digest of the manifest for the base's platform."""
    store: Path
    """The OCI layout that contains it: the context is `oci-layout://<store>@<digest>`."""
    config: Config
    size: int
    """Compressed size in bytes."""


class BaseImages:
    """Fetches, stores and evicts base images. Safe for several threads and processes at once."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        resolve: Resolve = addresses.resolve,
        connect: Callable[[str, int, float], socket.socket] = socks.connect,
    ) -> None:
        self._settings = settings
        self._resolve = resolve
        self._rules = RegistryRules(settings)
        self._root = settings.root / "base-images"
        self._owners = self._root / "owners"
        self._shared = BaseStore(self._root / "shared")
        self._sandbox = FetchSandbox(settings, self._root / "etc", connect=connect)

    def fetch(
        self, bases: Iterable[Base], hold: BaseHold, *, pull: bool = False
    ) -> Events[tuple[FetchedBase, ...]]:
        """Fetch bases of other registries that are missing or not fresh, and hold all of them.

        Yields progress and ticks. Raises BuildFailed (`base`) if one cannot be fetched.
        """
        self._shared.prepare()
        found = []
        for base in bases:
            with _told(base):
                self._rules.check_allowed(base.reference)
                _, version = split_reference(base.reference)
                source = Source(
                    base=base,
                    store=self._shared,
                    pin=version if "@" in base.reference else "",
                    policy=self._policy(self._rules.endpoints(base.reference)),
                    credentials=partial(self._rules.write_credentials, base.reference),
                )
                found.append((yield from self._fetch(source, hold, pull=pull)))
        return tuple(found)

    def fetch_private(
        self,
        bases: Sequence[tuple[Base, str]],
        hold: BaseHold,
        *,
        owner_id: UUID,
        token: str,
    ) -> Events[tuple[FetchedBase, ...]]:
        """The same for images of Slipway's own registry. The caller has checked the owner's access.

        `bases` are pairs of a base and its current digest. `token` is for the registry, or empty.
        The images go into the owner's store, which other owners never read.
        """
        self._shared.prepare()
        store = BaseStore(self._owners / str(owner_id))
        store.prepare()
        found = []
        for base, digest in bases:
            with _told(base):
                source = Source(
                    base=base,
                    store=store,
                    other=self._shared,
                    pin=digest,
                    policy=self._policy(self._rules.own_endpoints(base.reference)),
                    token=token,
                )
                found.append((yield from self._fetch(source, hold, pull=False)))
        return tuple(found)

    def drop_unused(self, free_bytes: int) -> None:
        """Evict unused bases, the least recently used first, until `free_bytes` are free."""
        if self._root.exists():
            evict_unused(self._stores(), self._root, free_bytes)

    def drop_owner(self, owner_id: UUID) -> None:
        """Remove an owner's private bases, except those that a build is using."""
        store = BaseStore(self._owners / str(owner_id))
        held = [image for image in store.images() if not store.evict(image.digest)]
        if not held:
            shutil.rmtree(store.root, ignore_errors=True)

    def drop_damaged(self, bases: Iterable[FetchedBase]) -> Events[bool]:
        """Verify bases that an engine could not use, and remove their damaged blobs.

        Returns whether any was damaged. The next fetch downloads it again.
        """
        found = False
        for each in bases:
            reading = BaseStore(each.store.parent).drop_damaged(each.digest)
            found |= yield from _ticking(reading)
        return found

    def sweep(self) -> None:
        """Remove the leftovers of fetches that failed or whose process died."""
        for store in self._stores():
            store.sweep()

    def _fetch(self, source: Source, hold: BaseHold, *, pull: bool) -> Events[FetchedBase]:
        fetch = BaseFetch(self._settings, self._sandbox, source, hold)
        image = yield from fetch.run(pull=pull)
        source.store.use(image.digest)
        return FetchedBase(
            base=source.base,
            digest=image.digest,
            store=source.store.layout,
            config=read_config(image.config.read_bytes()),
            size=image.size,
        )

    def _policy(self, configured: frozenset[Endpoint]) -> AddressPolicy:
        return current_policy(configured, self._settings.deny, resolve=self._resolve)

    def _stores(self) -> list[BaseStore]:
        owned = sorted(self._owners.iterdir()) if self._owners.exists() else []
        return [self._shared, *map(BaseStore, owned)]


def _ticking(reading: Generator[None, None, bool]) -> Events[bool]:
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return bool(end.value)
        yield TICK


@contextmanager
def _told(base: Base) -> Iterator[None]:
    """Turn fetch errors into BuildFailed or EngineBroken, with the base in the message."""
    try:
        yield
    except (NotUsable, Away) as problem:
        text = f"Dockerfile line {base.line}: the base image {base.reference} {problem}."
        raise BuildFailed(text, code="base") from problem
    except ProcessError as error:
        raise EngineBroken(f"Base images cannot be fetched: {error}", code="fetch") from error
