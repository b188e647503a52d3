"""Parses and completes references to images in registries, as docker does."""

import re

from common.repository_grammar import REPOSITORY, TAG

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")
_MOST_CHARACTERS = 255
_MOST_NAME_CHARACTERS = 1024
"""Limit with tag and digest. The longest valid one has 255 + 1 + 128 + 1 + 135 characters."""
_HUB = "docker.io"
_HUB_ALIASES = {"index.docker.io", "registry-1.docker.io"}
# Prefixes that build tools take as local paths or other transports. `docker` is not among them:
# docker:27 is an image, and docker://… is not a valid reference.
_TRANSPORTS = {
    "atomic", "containers-storage", "dir", "docker-archive", "docker-daemon", "http", "https",
    "oci", "oci-archive", "ostree", "sif", "tarball",
}  # fmt: skip


class NotAReference(ValueError):
    """The text is not a reference to an image in a registry. The message is a clause."""


def qualify(name: str) -> str:
    """Complete a reference: `python` → `docker.io/library/python:latest`.

    A digest replaces the tag. Raises NotAReference.
    """
    rest, at, digest = name.partition("@")
    _check_whole(name, rest)
    if at and not _DIGEST.fullmatch(digest):
        raise NotAReference("its digest is not sha256:<64 hex digits>")
    first, slash, path = rest.partition("/")
    if slash and (set(first) & {".", ":"} or first == "localhost" or first != first.lower()):
        host = first
    else:
        host, path = _HUB, rest
    path, colon, tag = path.partition(":")
    host = _HUB if host in _HUB_ALIASES else host
    if not _HOST.fullmatch(host):
        raise NotAReference(f"{host[:80]!r} is not a registry's host name")
    if path != path.lower():
        raise NotAReference("names of images are lower case")
    if not REPOSITORY.fullmatch(path):
        raise NotAReference("it is not written as one")
    if colon and not TAG.fullmatch(tag):
        raise NotAReference("its tag is not written as one")
    if host == _HUB and "/" not in path:
        path = f"library/{path}"
    if len(host) + 1 + len(path) > _MOST_CHARACTERS:
        raise NotAReference(f"it is longer than {_MOST_CHARACTERS} characters")
    return f"{host}/{path}@{digest}" if digest else f"{host}/{path}:{tag or 'latest'}"


def _check_whole(name: str, rest: str) -> None:
    if len(name) > _MOST_NAME_CHARACTERS:
        raise NotAReference(f"it is longer than {_MOST_NAME_CHARACTERS} characters")
    if _IDENTIFIER.fullmatch(name):
        raise NotAReference("an image's id names nothing in a registry")
    scheme, colon, _ = rest.partition(":")
    if colon and scheme.lower() in _TRANSPORTS:
        raise NotAReference(f"{scheme}: does not lead to an image in a registry")
