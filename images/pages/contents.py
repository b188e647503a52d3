"""The contents of a built image: its layers, its config and, on request, the files of one layer."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from threading import BoundedSemaphore

import orjson

from builds.conf import build_settings
from builds.models import Build
from builds.registry import RegistryError, make_registry
from builds.registry.contents import FOREIGN, MOST_BYTES, Contents, describe
from builds.registry.layer_files import LayerFiles, layer_files

KEPT = 16
"""Layers whose file lists are cached; a layer never changes."""
_looks = BoundedSemaphore(1)
"""Reading from the registry occupies a thread of the server: only one at a time."""
_known: OrderedDict[str, LayerFiles] = OrderedDict()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    digest: str
    size: int
    instruction: str
    shared: bool
    """Whether the image of the comparison has the same layer."""


def contents_of(build: Build) -> Contents:
    """As stored with the build; else read from the registry and then stored. Empty if neither
    has it."""
    if build.contents or not build.digest:
        return dict(build.contents or {})
    if not _looks.acquire(blocking=False):
        return {}
    try:
        registry = make_registry(build_settings())
        manifest = registry.manifest(build.repository, build.digest)
        digest = str(orjson.loads(manifest)["config"]["digest"])
        with registry.blob(build.repository, digest) as pieces:
            config = _bounded(pieces)
        found = describe(manifest, config)
    except (RegistryError, *FOREIGN):
        return {}
    finally:
        _looks.release()
    Build.objects.filter(pk=build.pk).update(contents=found)
    return found


def _bounded(pieces: Iterable[bytes]) -> bytes:
    """Raises ValueError if a config is too large to be read."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > MOST_BYTES:
            raise ValueError("the config is too large")
    return bytes(found)


def layer_rows(contents: Contents, before: Contents) -> list[LayerRow]:
    known = {digest for digest, *_ in before.get("layers", [])}
    return [
        LayerRow(digest=digest, size=size, instruction=instruction, shared=digest in known)
        for digest, size, _, instruction in contents.get("layers", [])
    ]


CONFIG = (
    ("Entrypoint", "entrypoint"),
    ("Command", "command"),
    ("User", "user"),
    ("Folder", "folder"),
    ("Ports", "ports"),
    ("Volumes", "volumes"),
    ("Healthcheck", "healthcheck"),
    ("Stop signal", "stop_signal"),
)


def config_rows(contents: Contents) -> list[tuple[str, list[str]]]:
    """The values that the config sets, with their labels."""
    found = ((label, contents.get(name)) for label, name in CONFIG)
    return [(label, [each] if isinstance(each, str) else each) for label, each in found if each]


def files_of(build: Build, digest: str) -> LayerFiles | str:
    """The files of a layer of this image, or a sentence that says why they cannot be listed now."""
    if digest in _known:
        _known.move_to_end(digest)
        return _known[digest]
    if not _looks.acquire(blocking=False):
        return "Another layer is being read just now. Reload the page in a moment."
    try:
        with make_registry(build_settings()).blob(build.repository, digest) as pieces:
            found = layer_files(pieces)
    except RegistryError as problem:
        return f"The layer cannot be read: {problem}."
    finally:
        _looks.release()
    _known[digest] = found
    while len(_known) > KEPT:
        _known.popitem(last=False)
    return found
