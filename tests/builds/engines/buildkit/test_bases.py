"""Base images as they come from registries that behave."""

import json
from pathlib import Path

from tests.builds.engines.buildkit.conftest import Fetcher
from tests.builds.engines.buildkit.scripted_registry import ScriptedRegistry, digest_of, tar


def blobs_of(layout: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in (layout / "blobs/sha256").iterdir()}


def test_an_image_is_kept_as_its_registry_has_it(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    image = registry.image(layers=[tar(a=b"a"), tar(b=b"b")])
    found = fetcher(registry.reference())
    assert found.digest == image["digest"]
    assert blobs_of(found.store) == {*registry.blobs, image["digest"]}
    for digest in blobs_of(found.store):
        data = (found.store / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
        assert digest_of(data) == digest
    assert fetcher.said == f"Pulling {registry.reference()} (0.0 MB)\n"
    assert json.loads((found.store / "oci-layout").read_text())["imageLayoutVersion"] == "1.0.0"


def test_dockers_format_is_kept_with_what_oci_would_lose(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    inner = {
        "OnBuild": ["COPY --from=alpine /a /b"],
        "Healthcheck": {"Test": ["CMD", "true"]},
        "Shell": ["/bin/ash"],
    }
    image = registry.image(docker=True, config={"config": inner})
    found = fetcher(registry.reference())
    assert found.digest == image["digest"]
    assert blobs_of(found.store) == {*registry.blobs, image["digest"]}
    assert found.config.onbuild == ("COPY --from=alpine /a /b",)


def test_layers_without_compression_are_kept(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    for tag, docker in (("1", False), ("2", True)):
        image = registry.image(tag, docker=docker, compressed=False)
        assert image["digest"] in blobs_of(fetcher(registry.reference(tag)).store)
    assert set(registry.blobs) < blobs_of(fetcher(registry.reference()).store)
