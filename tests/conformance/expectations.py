"""Holds a result to what its case says, and two results to each other; gives what does not fit."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.conformance.case import Case
from tests.conformance.image import Entry, Image, Tree, names_of
from tests.conformance.result import Result

SLIPWAY_LABEL = "slipway.build"


def unmet(case: Case, result: Result) -> list[str]:
    """Every expectation of the case that the result does not meet."""
    if case.failure is None:
        if result.image is None:
            return [f"the build failed: {result.told[-1_000:]}"]
        return [*_unmet_output(case, result), *_unmet_image(case, result.image)]
    if result.image is not None:
        return ["the build should have failed"]
    found = list(_unmet_output(case, result))
    failure = case.failure
    if failure.text.lower() not in result.told.lower():
        found.append(f"{failure.text!r} is not in what the user is told: {result.told[-1_000:]}")
    for name in ("exit_code", "line"):
        wanted, got = getattr(failure, name), getattr(result, name)
        if wanted is not None and wanted != got:
            found.append(f"{name} is {got}, not {wanted}: {result.told[-1_000:]}")
    return found


def of_slipway(case: Case) -> Case:
    """The case as Slipway is meant to build it."""
    if case.slipway is None:
        return case
    if case.slipway.refusal:
        return replace(case, failure=case.slipway.refusal)
    return replace(case, failure=None, files=case.slipway.files)


def differences(ours: Result, theirs: Result, *, since: float) -> list[str]:
    """Where two builds of one case differ.

    Times after `since` are those of the build and never equal. Digests, dates of the config and
    the label with which Slipway marks images are not compared.
    """
    if ours.image is None or theirs.image is None:
        if (ours.image is None) == (theirs.image is None):
            return []
        return [f"succeeded: {ours.image is not None}, plain docker: {theirs.image is not None}"]
    left, right = _comparable(ours.image, since), _comparable(theirs.image, since)
    return [
        f"{key}: {left.get(key)}, plain docker: {right.get(key)}"
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def _unmet_output(case: Case, result: Result) -> Iterator[str]:
    for text in case.output:
        if text not in result.output:
            yield f"{text!r} is not in the output: {result.output[-1_000:]}"


def _unmet_image(case: Case, image: Image) -> Iterator[str]:
    for name, wanted in case.files.items():
        yield from _unmet_file(
            image.tree, name, {"content": wanted} if isinstance(wanted, str) else wanted
        )
    for folder, wanted in case.listing.items():
        prefix = folder.rstrip("/") + "/"
        got = sorted(name.removeprefix(prefix) for name in image.tree if name.startswith(prefix))
        if got != sorted(wanted):
            yield f"{folder} holds {got}, not {sorted(wanted)}"
    config = _without_our_label(image.config)
    for key, wanted in case.config.items():
        if (config.get(key) or False) != (wanted or False):
            yield f"config {key} is {config.get(key)!r}, not {wanted!r}"


def _unmet_file(tree: Tree, name: str, wanted: dict[str, Any] | bool) -> Iterator[str]:
    path = name.rstrip("/") or "/"
    entry = tree.get(path)
    if wanted is False or entry is None:
        if (entry is None) != (wanted is False):
            yield f"{path} {'is missing' if entry is None else f'exists: {entry}'}"
        return
    wanted = {} if wanted is True else wanted
    if name.endswith("/") and entry.kind != "dir":
        yield f"{path} is no folder: {entry}"
    for key, value in wanted.items():
        if not _fits(tree, path, entry, key, value):
            yield f"{path}: {key} is not {value!r}: {entry} {entry.content[:300]!r}"


def _fits(tree: Tree, path: str, entry: Entry, key: str, value: Any) -> bool:
    is_file = entry.kind == "file"
    checks: dict[str, Callable[[], bool]] = {
        "kind": lambda: bool(entry.kind == value),
        "mode": lambda: bool(entry.mode == value),
        "owner": lambda: bool(entry.owner == value),
        "mtime": lambda: bool(int(entry.mtime) == value),
        "size": lambda: bool(len(entry.content) == value),
        "xattr": lambda: value in entry.xattrs,
        "content": lambda: is_file and bool(entry.content == value.encode()),
        "contains": lambda: is_file and value.encode() in entry.content,
        "same_content_as": lambda: value in tree and entry.content == tree[value].content,
        "link": lambda: entry.kind == "link" and bool(entry.target == value),
        "same_as": lambda: value != path and value in names_of(tree, path),
    }
    return checks[key]()


def _without_our_label(config: dict[str, Any]) -> dict[str, Any]:
    labels = config.get("Labels") or {}
    return config | {"Labels": {k: v for k, v in labels.items() if k != SLIPWAY_LABEL}}


def _comparable(image: Image, since: float) -> dict[str, Any]:
    config = {key: value for key, value in _without_our_label(image.config).items() if value}
    files = {
        path: f"{entry} {'new' if entry.mtime >= since else int(entry.mtime)} "
        + " = ".join(names_of(image.tree, path)[1:])
        for path, entry in image.tree.items()
    }
    rest = {
        "platform": image.platform,
        "layers": image.layers,
        "history": image.history,
    }
    return {f"config {key}": value for key, value in config.items()} | rest | files
