"""Makes base images for benchmarks, so that no benchmark needs the internet."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from builds.registry import Registry
from tests.conformance.bases import base_images, write_layout
from tests.engine_root import ENGINE_ROOT

OCI = "application/vnd.oci.image"
FILES, RANDOM_BYTES, FILE_BYTES = 20_000, 20_600, 53_687


def push_busybox(registry: str, folder: Path) -> str:
    """The base image, also of the builds with plain docker. Returns its reference."""
    image = next(each for each in base_images(ENGINE_ROOT.find()) if "busybox" in each.name)
    write_layout(image, folder)
    return _push(registry, folder, "bench/busybox")


def push_large(registry: str, busybox: Path, folder: Path) -> str:
    """Busybox and 1 GiB in 20,000 files, of which about 400 MiB cannot be compressed."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    (entry,) = json.loads((busybox / "index.json").read_text())["manifests"]
    manifest = json.loads(_blob(busybox, entry).read_bytes())
    config = json.loads(_blob(busybox, manifest["config"]).read_bytes())
    for part in manifest["layers"]:
        _blob(folder, part).write_bytes(_blob(busybox, part).read_bytes())
    layer, diff_id = _large_layer(folder)
    manifest["layers"].append(layer)
    config["rootfs"]["diff_ids"].append(diff_id)
    config["history"].append({"created_by": "large"})
    manifest["config"] |= _write(folder, json.dumps(config).encode())
    entry |= _write(folder, json.dumps(manifest).encode())
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return _push(registry, folder, "bench/large")


def _large_layer(folder: Path) -> tuple[dict[str, Any], str]:
    """The descriptor of the layer, and the digest of its content."""
    packed = folder / "layer"
    zeros = bytes(FILE_BYTES - RANDOM_BYTES)
    with packed.open("wb") as file, gzip.open(file, "wb", compresslevel=1) as zipped:
        hashing = _Hashing(zipped)
        with tarfile.open(fileobj=hashing, mode="w|") as archive:  # type: ignore[call-overload]
            for n in range(FILES):
                info = tarfile.TarInfo(f"large/{n % 100}/{n}")
                info.size = FILE_BYTES
                archive.addfile(info, io.BytesIO(os.urandom(RANDOM_BYTES) + zeros))
    with packed.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    size = packed.stat().st_size
    packed.rename(folder / "blobs/sha256" / digest)
    layer = {
        "mediaType": f"{OCI}.layer.v1.tar+gzip",
        "digest": f"sha256:{digest}",
        "size": size,
    }
    return layer, f"sha256:{hashing.digest.hexdigest()}"


class _Hashing:
    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)


def _write(folder: Path, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def _blob(layout: Path, part: dict[str, Any]) -> Path:
    return layout / "blobs/sha256" / str(part["digest"]).removeprefix("sha256:")


def _push(registry: str, folder: Path, repository: str) -> str:
    for _ in Registry(registry, insecure=True).push(folder, repository=repository, tag="1"):
        pass
    return f"{registry}/{repository}:1"
