"""Base images from their registry through the store into a build by BuildKit."""

import gzip
import json
from collections.abc import Callable
from uuid import uuid4

import pytest

from builds.engines.base import BuildFailed, EngineBroken
from builds.engines.buildkit import BuildKitEngine
from builds.engines.sandbox.settings import EngineSettings
from tests.builds.engines.base_images.scripted_registry import redirect, scripted_registry
from tests.builds.engines.busybox import busybox_layer
from tests.builds.engines.conftest import Workshop

pytestmark = pytest.mark.engine
INNER = {
    "Env": ["PATH=/bin"],
    "Healthcheck": {"Test": ["CMD", "true"]},
    "Shell": ["/bin/sh", "-ec"],
}


@pytest.mark.parametrize("docker", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_base_keeps_all_of_its_configuration(
    workshop: Workshop, tuned: Callable[..., BuildKitEngine], *, docker: bool, compressed: bool
) -> None:
    once = uuid4()  # or the layer cache has what the trigger wrote for the case before
    inner = {**INNER, "OnBuild": [f"RUN echo triggered {once}"]}
    with scripted_registry() as registry:
        layer = gzip.decompress(busybox_layer()[0])
        registry.image(
            layers=[layer], docker=docker, compressed=compressed, config={"config": inner}
        )
        engine = tuned(insecure_registries=frozenset({registry.address}))
        workshop.engine, workshop.base = engine, registry.reference()
        ran = workshop.run("FROM BASE\nRUN echo own; : ONCE\n")
        engine.close()
    assert ran.stdout == f"triggered {once}\nown\n".encode()
    blobs = ran.outcome.layout / "blobs/sha256"
    manifest = json.loads((blobs / ran.outcome.digest.removeprefix("sha256:")).read_text())
    config = manifest["config"]["digest"].removeprefix("sha256:")
    made = json.loads((blobs / config).read_text())["config"]
    assert made["Healthcheck"] == INNER["Healthcheck"]
    assert made["Shell"] == INNER["Shell"]


def test_a_base_that_leads_to_a_private_address_fails_the_build_with_its_line(
    workshop: Workshop, tuned: Callable[..., BuildKitEngine]
) -> None:
    with scripted_registry() as registry, scripted_registry() as target:
        registry.handlers["/manifests/1"] = redirect(f"http://{target.address}/stolen")
        engine = tuned(insecure_registries=frozenset({registry.address}))
        workshop.engine, workshop.base = engine, registry.reference()
        with pytest.raises(BuildFailed, match=r"^Dockerfile line 2: .* private address") as failed:
            workshop.run("# a comment\nFROM BASE\n")
        engine.close()
    assert failed.value.code == "base"
    assert target.requests == []


def test_a_base_that_is_damaged_on_the_disk_is_fetched_again(
    workshop: Workshop, settings: EngineSettings, tuned: Callable[..., BuildKitEngine]
) -> None:
    workshop.engine = tuned(root=settings.root.parent / "damaged")
    workshop.run("FROM BASE\nRUN ONCE\n", owner=uuid4())
    blobs = settings.root.parent / "damaged/base-images/shared/layout/blobs/sha256"
    layer = max(blobs.iterdir(), key=lambda each: each.stat().st_size)
    data = layer.read_bytes()
    layer.chmod(0o644)
    layer.write_bytes(bytes(1000) + data[1000:])
    with pytest.raises(EngineBroken, match="damaged") as broken:
        workshop.run("FROM BASE\nRUN ONCE; echo fine\n", owner=uuid4())
    assert broken.value.code == "store"
    ran = workshop.run("FROM BASE\nRUN ONCE; echo fine\n", owner=uuid4())
    assert b"fine\n" in ran.stdout
    assert layer.read_bytes() == data
