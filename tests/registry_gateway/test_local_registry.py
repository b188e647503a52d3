"""The registry that Slipway starts, and the room that deleted images give back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from builds.registry import Registry
from builds.registry.auth import Identity
from builds.registry.tokens import WORKER as PUSHER
from builds.registry.tokens import Signer
from builds.status import Status
from builds.worker import WORKER
from registry_gateway.local_registry import LocalRegistry
from tests.builds.registry.test_registry import OCI, make_layout
from tests.conftest import Order
from tests.engine_root import ENGINE_ROOT
from tests.registry import free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalRegistry]:
    signer = Signer("a secret", "http://127.0.0.1:8000/registry/token")
    started = LocalRegistry(
        engine_root=ENGINE_ROOT,
        address=f"127.0.0.1:{free_port()}",
        folder=tmp_path / "registry",
        signer=signer,
    )
    started.start()
    yield started
    started.stop()


def push(registry: Registry, repository: str, layout: Path, digest: str) -> None:
    """Without skopeo, which would ask Slipway for a token."""
    for file in (layout / "blobs/sha256").iterdir():
        if f"sha256:{file.name}" != digest:
            registry._put_blob(repository, f"sha256:{file.name}", file.read_bytes())
    manifest = layout / "blobs/sha256" / digest.removeprefix("sha256:")
    registry._put_manifest(repository, "1", manifest.read_bytes(), f"{OCI}.manifest.v1+json")


def blobs(local: LocalRegistry) -> set[str]:
    return {
        Path(folder).name for folder, _, files in os.walk(local.folder / "data") if "data" in files
    }


def test_what_only_deleted_images_had_is_collected_while_nothing_is_built(
    local: LocalRegistry, tmp_path: Path, order: Order
) -> None:
    identity = Identity(local._signer, PUSHER)
    registry = Registry(local.address, insecure=True, identity=identity)
    kept = make_layout(tmp_path / "kept", layer=b"kept")
    gone = make_layout(tmp_path / "gone", layer=b"gone", label="gone")
    push(registry, "owner/kept", *kept)
    of_kept = blobs(local)
    push(registry, "owner/gone", *gone)
    assert len(blobs(local) - of_kept) == 3
    registry.delete("owner/gone", gone[1])

    build = order("echo hello")
    with WORKER.claim(build.pk):
        assert not local.collect()
    assert len(blobs(local) - of_kept) == 3

    assert local.collect()
    assert blobs(local) == of_kept
    assert registry.digest_of("owner/kept", "1") is not None


def test_a_worker_that_rests_takes_nothing(order: Order) -> None:
    build = order("echo hello")
    with WORKER.rest() as alone:
        assert alone
        assert (WORKER.next(), WORKER.free()) == (None, 0)
        with WORKER.claim(build.pk) as claimed:
            assert claimed is None
    build.refresh_from_db()
    assert build.state is Status.QUEUED
    assert WORKER.next() == build.pk
