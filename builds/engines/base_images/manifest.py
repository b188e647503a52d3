"""Parses and validates manifests and configurations from registries, which are not trusted.

Go matches the names of JSON fields in any case. This parser must read the same values as skopeo
and BuildKit, so two spellings of one field are refused.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_MANIFEST_BYTES = 4 << 20
MAX_CONFIG_BYTES = 4 << 20
MAX_PLATFORMS_SHOWN = 8
MAX_ONBUILD = 1_000
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PLATFORM_PART = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII)

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIGS = {
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
}
LAYERS = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
FOREIGN = ("nondistributable", "foreign")
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


class NotUsable(Exception):
    """The image cannot be used as a base. The text follows the image's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A blob of an image: its configuration or a layer. `size` is in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The manifest of an image for one platform."""

    raw: bytes
    digest: str
    is_docker: bool
    """Whether it has Docker's format (version 2, schema 2) instead of OCI's."""
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def size(self) -> int:
        """Bytes that a pull transfers. Layers that occur twice count once."""
        return sum(blob.size for blob in self.blobs)

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Config and layers, each once."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """`os/arch[/variant]`, without the variant if it is the architecture's default."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def runs(self, other: "Platform") -> int | None:
        """How well an image for `other` fits: 0 is best. None if it does not run here."""
        if (self.os, self.architecture) != (other.os, other.architecture):
            return None
        variants = _usable_variants(self)
        return variants.index(other.variant) if other.variant in variants else None


def platform(text: str) -> Platform:
    """Parse `os/arch[/variant]`."""
    parts = [*text.split("/"), "", ""]
    return _normal(*parts[:3])


@dataclass(frozen=True, slots=True)
class Index:
    """An image index: images for several platforms."""

    entries: tuple[tuple[str, Platform | None], ...]
    """Digest and platform. The platform is None if the index does not say."""

    def choose(self, wanted: Platform) -> str:
        """The digest for a platform. Raises NotUsable."""
        found = [
            (distance, digest)
            for digest, offered in self.entries
            if offered is not None and (distance := wanted.runs(offered)) is not None
        ]
        if found:
            return min(found, key=lambda each: each[0])[1]
        silent = [digest for digest, offered in self.entries if offered is None]
        if len(silent) == 1:
            return silent[0]
        offers = sorted({str(offered) for _, offered in self.entries if offered})
        shown = ", ".join(offers[:MAX_PLATFORMS_SHOWN]) or "no platform"
        more = ", …" if len(offers) > MAX_PLATFORMS_SHOWN else ""
        raise NotUsable(f"is not available for {wanted}, only for {shown}{more}")


def digest_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def read_manifest(raw: bytes, *, max_layers: int, max_bytes: int) -> Manifest | Index:
    """Parse a registry's response for a reference. Raises NotUsable."""
    try:
        value = _object(raw)
        version = get(value, "schemaVersion")
        has_entries = get(value, "manifests") is not None
        has_layers = get(value, "layers") is not None or get(value, "config") is not None
        if version == 1:
            raise NotUsable("has a manifest of the old format (schema 1): push it again")
        if version != 2 or has_entries == has_layers:  # noqa: PLR2004  (the format's number)
            raise NotUsable("is not an image")
        if has_entries:
            return _index(value)
        return _manifest(raw, value, max_layers, max_bytes)
    except MALFORMED as error:
        raise NotUsable("is not an image: its manifest cannot be read") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The part of a base's configuration that a build needs."""

    platform: Platform | None
    """None if the image does not say."""
    onbuild: tuple[str, ...]
    """ONBUILD instructions, which run in each stage that starts from the base."""


def read_config(raw: bytes) -> Config:
    """Parse an image's configuration. Raises NotUsable."""
    try:
        value = _object(raw)
        names = [get(value, name) or "" for name in ("os", "architecture", "variant")]
        inner = get(value, "config") or {}
        onbuild = get(inner, "OnBuild") or []
        if not all(isinstance(each, str) for each in (*names, *onbuild)):
            raise TypeError("not texts")
        if len(onbuild) > MAX_ONBUILD:
            raise NotUsable(f"has more than {MAX_ONBUILD:,} ONBUILD instructions")
        if not all(PLATFORM_PART.fullmatch(name) for name in names if name):
            raise ValueError("a platform that is none")
        named = _normal(*names) if names[0] or names[1] else None
        return Config(platform=named, onbuild=tuple(onbuild))
    except MALFORMED as error:
        raise NotUsable("is not an image: its configuration cannot be read") from error


def check_platform(config: Config, wanted: Platform) -> None:
    """Raise NotUsable if the image is for another platform."""
    found = config.platform
    if found is None:
        return
    offered = found if found.variant else Platform(found.os, found.architecture, wanted.variant)
    if wanted.runs(offered) is None:
        raise NotUsable(f"is for {found}, not for {wanted}")


def get(value: Any, name: str) -> Any:
    """A field by its name in any case, as Go does it. None if missing.

    Raises TypeError if `value` is not an object, and ValueError if two fields match.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: not in an object")
    found = [key for key in value if key.casefold() == name.casefold()]
    if len(found) > 1:
        raise ValueError(f"{name}: more than once")
    return value[found[0]] if found else None


def _object(raw: bytes) -> dict[str, Any]:
    value = json.loads(raw, object_pairs_hook=_once)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field more than once")
    return found


def _manifest(raw: bytes, value: dict[str, Any], max_layers: int, max_bytes: int) -> Manifest:
    layers = get(value, "layers")
    config = get(value, "config")
    if len(layers) > max_layers:
        raise NotUsable(f"has {len(layers):,} layers, and {max_layers:,} are allowed")
    if get(config, "mediaType") not in CONFIGS:
        raise NotUsable("is not an image, but something else that is kept in a registry")
    for layer in layers:
        kind = get(layer, "mediaType")
        if get(layer, "urls") or any(word in str(kind) for word in FOREIGN):
            raise NotUsable("has layers that are kept outside its registry (foreign layers)")
        if kind not in LAYERS:
            raise NotUsable("has layers of a kind that cannot be built from")
    made = Manifest(
        raw=raw,
        digest=digest_of(raw),
        is_docker=get(value, "mediaType") == DOCKER_MANIFEST,
        config=_blob(config),
        layers=tuple(_blob(layer) for layer in layers),
    )
    if made.config.size > MAX_CONFIG_BYTES:
        raise NotUsable("has a configuration of more than 4 MiB")
    if made.size > max_bytes:
        raise NotUsable(
            f"is too large: {megabytes(made.size)} compressed, and {megabytes(max_bytes)} are "
            "allowed"
        )
    return made


def _index(value: dict[str, Any]) -> Index:
    entries = []
    for entry in get(value, "manifests"):
        about = get(entry, "platform")
        fields = ("os", "architecture", "variant") if about else ()
        names = [get(about, name) or "" for name in fields]
        if not all(isinstance(name, str) for name in names):
            raise TypeError("not texts")
        if "unknown" in names:
            continue  # an attestation beside an image
        if names and not all(PLATFORM_PART.fullmatch(name) for name in names if name):
            continue
        entries.append((_blob(entry).digest, _normal(*names) if any(names) else None))
    return Index(tuple(entries))


def _blob(value: Any) -> Blob:
    digest, size = get(value, "digest"), get(value, "size")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ValueError("a digest that is none")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError("a size that is none")
    return Blob(digest=digest, size=size)


def _normal(os: str, architecture: str, variant: str = "") -> Platform:
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, architecture)
    if (architecture, variant) in {("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")}:
        variant = ""
    if architecture == "arm":
        variant = f"v{variant.removeprefix('v') or '7'}"
    return Platform(os.lower(), architecture.lower(), variant.lower())


def _usable_variants(wanted: Platform) -> list[str]:
    """The variants that run on a platform, the best first."""
    number = wanted.variant.removeprefix("v")
    if wanted.architecture == "arm" and number.isascii() and number.isdigit():
        return [f"v{each}" for each in range(min(int(number), 9), 4, -1)]
    if wanted.architecture == "amd64" and number in {"2", "3", "4"}:
        return [*(f"v{each}" for each in range(int(number), 1, -1)), ""]
    return [wanted.variant]


def megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"
