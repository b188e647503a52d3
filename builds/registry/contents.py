"""Describes an image from its manifest and config, limited in size.

Both contain input of users, so every value may have an unexpected type.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from builds.registry.push import Manifest, blob_path, read_small

MOST_BYTES = 1024 * 1024
"""Maximum size of a config that is read. BuildKit's have a few kilobytes."""
MOST_LAYERS = 200
MOST_ENTRIES = 200
"""Limit for each of environment, labels, ports and volumes."""
TEXT_CHARACTERS = 1_000
FOREIGN = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
Contents = dict[str, Any]


def contents_of_layout(
    layout: Path, manifest: Manifest, bases: Iterable[tuple[str, str]]
) -> Contents:
    """Contents of a built image; empty if its config cannot be read."""
    try:
        digest = orjson.loads(manifest.content)["config"]["digest"]
        config = read_small(blob_path(layout, digest))
        if len(config) > MOST_BYTES:
            return {}
        return describe(manifest.content, config, bases)
    except FOREIGN:
        return {}


def describe(manifest: bytes, config: bytes, bases: Iterable[tuple[str, str]] = ()) -> Contents:
    """Contents from a manifest and a config. Raises one of FOREIGN if they are malformed."""
    layers = orjson.loads(manifest).get("layers") or []
    found = orjson.loads(config)
    return {
        "platform": _platform(found),
        "created": _text(found.get("created")),
        "layers": _layers(layers, found.get("history") or []),
        "layer_count": len(layers),
        "bases": [[_text(reference), _text(digest)] for reference, digest in bases],
        **_config(found.get("config") or {}),
    }


def _platform(config: Mapping[str, Any]) -> str:
    parts = (_text(config.get(name)) for name in ("os", "architecture", "variant"))
    return "/".join(part for part in parts if part)


def _layers(layers: Sequence[Any], history: Sequence[Any]) -> list[list[Any]]:
    """Rows of `[digest, compressed bytes, media type, instruction]`."""
    made = [each for each in history if not each.get("empty_layer")]
    # If the history does not match the layers, no instruction can be assigned.
    words = [_instruction(each) for each in made] if len(made) == len(layers) else []
    return [
        [
            _text(layer["digest"]),
            max(0, int(layer["size"])),
            _text(layer.get("mediaType")),
            words[at] if words else "",
        ]
        for at, layer in enumerate(layers[:MOST_LAYERS])
    ]


def _instruction(entry: Mapping[str, Any]) -> str:
    """The instruction without the prefix and suffix that builders add."""
    text = _text(entry.get("created_by"))
    return text.removesuffix(" # buildkit").removeprefix("/bin/sh -c #(nop) ").strip()


def _config(config: Mapping[str, Any]) -> Contents:
    health = config.get("Healthcheck") or {}
    return {
        "entrypoint": _texts(config.get("Entrypoint")),
        "command": _texts(config.get("Cmd")),
        "environment": [each.partition("=")[::2] for each in _texts(config.get("Env"))],
        "user": _text(config.get("User")),
        "folder": _text(config.get("WorkingDir")),
        "ports": _texts(config.get("ExposedPorts")),
        "volumes": _texts(config.get("Volumes")),
        "labels": _pairs(config.get("Labels")),
        "stop_signal": _text(config.get("StopSignal")),
        "healthcheck": _texts(health.get("Test")),
    }


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else str(value)
    # PostgreSQL rejects NUL, and UTF-8 cannot encode lone surrogates.
    text = text[:TEXT_CHARACTERS].replace("\0", "")
    return text.encode(errors="replace").decode()


def _texts(values: Any) -> list[str]:
    """Items of a list, or keys of an object, as texts."""
    return [_text(each) for each in list(values or ())[:MOST_ENTRIES]]


def _pairs(values: Any) -> list[list[str]]:
    return [
        [_text(name), _text(value)]
        for name, value in list(dict(values or {}).items())[:MOST_ENTRIES]
    ]
