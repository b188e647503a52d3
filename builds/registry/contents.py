"""What is in an image, out of its manifest and config: bounded facts for people.

Both were made of what a user wrote, so nothing in them has to be what it should be.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from builds.registry.push import Manifest, blob_path, read_small

MOST_BYTES = 1024 * 1024
"""Of a config that is read. BuildKit's have some kilobytes."""
MOST_LAYERS = 200
MOST_ENTRIES = 200
"""Of environment, labels, ports and volumes each."""
TEXT_CHARACTERS = 1_000
FOREIGN = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
Contents = dict[str, Any]


def contents_of_layout(
    layout: Path, manifest: Manifest, bases: Iterable[tuple[str, str]]
) -> Contents:
    """Of an image that was just built; empty where its config cannot be read."""
    try:
        digest = orjson.loads(manifest.content)["config"]["digest"]
        config = read_small(blob_path(layout, digest))
        if len(config) > MOST_BYTES:
            return {}
        return describe(manifest.content, config, bases)
    except FOREIGN:
        return {}


def describe(manifest: bytes, config: bytes, bases: Iterable[tuple[str, str]] = ()) -> Contents:
    """Raises one of FOREIGN where they are not a manifest and a config."""
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
    """`[digest, compressed bytes, media type, instruction]`."""
    made = [each for each in history if not each.get("empty_layer")]
    # A history that does not fit the layers says nothing of them.
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
    """Without what builders put around it."""
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
    # No database takes a NUL, and no page a lone surrogate.
    text = text[:TEXT_CHARACTERS].replace("\0", "")
    return text.encode(errors="replace").decode()


def _texts(values: Any) -> list[str]:
    """Of a list, or of the names of an object."""
    return [_text(each) for each in list(values or ())[:MOST_ENTRIES]]


def _pairs(values: Any) -> list[list[str]]:
    return [
        [_text(name), _text(value)]
        for name, value in list(dict(values or {}).items())[:MOST_ENTRIES]
    ]
