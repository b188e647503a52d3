"""The base images of a machine: OCI layouts on disk, which builds get as named contexts.

One store is for everybody. Images of Slipway's own registry may be private, so each owner has a
store for those, filled with the owner's rights.
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
    """A base image that is there, for as long as it is held."""

    base: Base
    digest: str
    """Of the manifest for the base's platform."""
    store: Path
    """The OCI layout that has it: the context is `oci-layout://<store>@<digest>`."""
    config: Config
    size: int
    """Compressed, in bytes."""


class BaseImages:
    """Fetches, keeps and evicts them. Safe in several threads and processes of a machine."""

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
        """Make sure that bases of other registries are there and fresh enough, and hold them.

        Yields progress and ticks. Raises BuildFailed (`base`) for one that cannot be fetched.
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
        """The same for images of Slipway's own registry that the owner was found to be allowed.

        Each comes with the digest that it has now; `token` is for the registry, or empty. Other
        owners see nothing of them.
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
        """Remove bases that no build uses, the least recently used first, until so much is free."""
        if self._root.exists():
            evict_unused(self._stores(), self._root, free_bytes)

    def drop_owner(self, owner_id: UUID) -> None:
        """Remove an owner's private bases, except those that a build uses."""
        store = BaseStore(self._owners / str(owner_id))
        held = [image for image in store.images() if not store.evict(image.digest)]
        if not held:
            shutil.rmtree(store.root, ignore_errors=True)

    def drop_damaged(self, bases: Iterable[FetchedBase]) -> Events[bool]:
        """Read bases again that an engine could not use and remove what is damaged of them.

        Returns whether anything was. The next fetch brings it again.
        """
        found = False
        for each in bases:
            reading = BaseStore(each.store.parent).drop_damaged(each.digest)
            found |= yield from _ticking(reading)
        return found

    def sweep(self) -> None:
        """Remove what fetches left that failed or ended with their process."""
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
    """Turn faults into messages for the build's owner."""
    try:
        yield
    except (NotUsable, Away) as problem:
        text = f"Dockerfile line {base.line}: the base image {base.reference} {problem}."
        raise BuildFailed(text, code="base") from problem
    except ProcessError as error:
        raise EngineBroken(f"Base images cannot be fetched: {error}", code="fetch") from error
