import json
from typing import Any

import pytest

from builds.engines.base_images.manifest import (
    Config,
    Index,
    Manifest,
    NotUsable,
    Platform,
    check_platform,
    platform,
    read_config,
    read_manifest,
)
from tests.builds.engines.base_images.scripted_registry import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)

DIGEST = "sha256:" + "a" * 64


def blob(kind: str = OCI_LAYER, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": DIGEST, "size": 7, **more}


def manifest(**changes: Any) -> bytes:
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": blob(OCI_CONFIG),
        "layers": [blob()],
    }
    return json.dumps({**value, **changes}).encode()


def read(raw: bytes) -> Manifest | Index:
    return read_manifest(raw, max_layers=3, max_bytes=1_000)


def test_a_plain_manifest_is_read() -> None:
    found = read(manifest())
    assert isinstance(found, Manifest)
    assert (found.config.digest, found.size, len(found.layers)) == (DIGEST, 7, 1)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"schemaVersion":' + b"9" * 10_000 + b"}", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"schemaVersion":1,"fsLayers":[]}', "old format"),
        (manifest(manifests=[]), "is not an image"),
        (manifest(schemaVersion=3), "is not an image"),
        (manifest(layers=None), "cannot be read"),
        (manifest(layers="abc"), "cannot be read"),
        (manifest(Layers=[]), "cannot be read"),
        (manifest()[:-1] + b',"layers":[]}', "cannot be read"),
        # The long s, which Go takes for an s.
        (manifest()[:-1] + ',"layer\u017f":[]}'.encode(), "cannot be read"),
        (manifest(config=blob("application/vnd.cncf.helm.config.v1+json")), "something else"),
        (manifest(layers=[blob("text/plain")]), "of a kind"),
        (manifest(layers=[blob(urls=["http://127.0.0.1/"])]), "foreign"),
        (manifest(layers=[blob(URLS=["http://127.0.0.1/"])]), "foreign"),
        (
            manifest(layers=[blob("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")]),
            "foreign",
        ),
        (manifest(layers=[blob(digest="sha256:../../etc")]), "cannot be read"),
        (manifest(layers=[blob(digest=None)]), "cannot be read"),
        (manifest(layers=[blob(size=-1)]), "cannot be read"),
        (manifest(layers=[blob(size=True)]), "cannot be read"),
        (manifest(layers=[blob(size=1e3)]), "cannot be read"),
        (manifest(layers=[blob()] * 4), "4 layers, and 3 are allowed"),
        (manifest(layers=[blob(digest="sha256:" + "b" * 64, size=994)]), "too large"),
        (manifest(config=blob(OCI_CONFIG, size=5 << 20)), "configuration of more than"),
    ],
)
def test_what_is_no_usable_image_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(NotUsable, match=reason):
        read(raw)


def index(*platforms: str | None) -> Index:
    entries = []
    for at, text in enumerate(platforms):
        entry = blob(OCI_MANIFEST, digest=f"sha256:{at:064}")
        if text is not None:
            names = dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))
            entry["platform"] = names
        entries.append(entry)
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    found = read(json.dumps(value).encode())
    assert isinstance(found, Index)
    return found


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", 1),
        (["linux/arm64/v8"], "linux/arm64", 0),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm64"], "linux/arm/v7", 1),
        (["linux/arm"], "linux/arm/v7", 0),
        (["linux/amd64", "linux/amd64/v2"], "linux/amd64/v3", 1),
        (["unknown/unknown", "linux/amd64"], "linux/amd64", 1),
        ([None], "linux/amd64", 0),
        (["linux/x86_64"], "linux/amd64", 0),
    ],
)
def test_an_index_gives_the_best_that_runs(
    offered: list[str | None], wanted: str, chosen: int
) -> None:
    assert index(*offered).choose(platform(wanted)) == f"sha256:{chosen:064}"


@pytest.mark.parametrize(
    ("offered", "wanted", "shown"),
    [
        (["linux/arm64", "windows/amd64"], "linux/amd64", "only for linux/arm64, windows/amd64"),
        (["linux/arm/v7"], "linux/arm/v6", "linux/arm/v7"),
        (["linux/amd64/v3"], "linux/amd64", "linux/amd64/v3"),
        (["unknown/unknown"], "linux/amd64", "no platform"),
        (["li\nnux/\x1b[31m"], "linux/amd64", "no platform"),
        ([f"os{at}/arch" for at in range(50)], "linux/amd64", "…"),
    ],
)
def test_an_index_without_the_platform_is_refused(
    offered: list[str | None], wanted: str, shown: str
) -> None:
    with pytest.raises(NotUsable) as refused:
        index(*offered).choose(platform(wanted))
    assert shown in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("config", "wanted", "fits"),
    [
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64", True),
        ({"os": "linux", "architecture": "arm64"}, "linux/amd64", False),
        ({"os": "windows", "architecture": "amd64"}, "linux/amd64", False),
        ({"os": "linux", "architecture": "arm"}, "linux/arm/v6", False),
        ({"os": "linux", "architecture": "arm", "variant": "v6"}, "linux/arm/v7", True),
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v6", False),
        ({}, "linux/amd64", True),
    ],
)
def test_the_configuration_must_be_for_the_platform(
    config: dict[str, str], wanted: str, *, fits: bool
) -> None:
    read_it = read_config(json.dumps(config).encode())
    if fits:
        check_platform(read_it, platform(wanted))
    else:
        with pytest.raises(NotUsable, match=r"is for .*, not for"):
            check_platform(read_it, platform(wanted))


def test_triggers_are_found_as_go_finds_them() -> None:
    raw = b'{"os":"linux","architecture":"amd64","CONFIG":{"onbuild":["RUN a"]}}'
    assert read_config(raw) == Config(platform=Platform("linux", "amd64"), onbuild=("RUN a",))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"config":{"OnBuild":[],"onbuild":["RUN a"]}}',
        b'{"config":{"OnBuild":[1]}}',
        b'{"config":[1]}',
        b'{"os":1}',
        b'{"os":"a\\nb","architecture":"c"}',
        b"null",
    ],
)
def test_a_configuration_that_says_two_things_is_refused(raw: bytes) -> None:
    with pytest.raises(NotUsable, match="configuration cannot be read"):
        read_config(raw)


def test_too_many_triggers_are_refused() -> None:
    raw = json.dumps({"config": {"OnBuild": ["RUN a"] * 1_001}}).encode()
    with pytest.raises(NotUsable, match="1,000 ONBUILD"):
        read_config(raw)
