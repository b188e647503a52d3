"""Members of an archive: validates their names and links, and the tree that they form."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from builds.context.limits import CONTROL, ContextLimits, ContextRefused, shown, too_many

COMPONENT_BYTES = 255
"""The limit of Linux file systems for one name."""
PATH_BYTES = 1024
"""Well below PATH_MAX, so that the path below the work folder is also short enough."""
DEPTH = 64
"""Folders are opened one by one, so this limits the system calls per member."""

_DRIVE = re.compile(r"[A-Za-z]:")
_LATEST_SECOND = 2**33 - 1
"""The latest time in a tar header without an extension. File systems support later ones."""

Kind = Literal["file", "folder", "link", "hard link"]
Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry that may be written below the context."""

    name: str
    """As written in the archive, for messages."""
    parts: Parts
    kind: Kind
    mode: int
    """Permission bits, including set-user-id, set-group-id and sticky."""
    mtime_ns: int
    size: int = 0
    """Bytes of content that the archive declares."""
    target: str = ""
    """Text of a symbolic link."""
    source: Parts = ()
    """For a hard link, the path of the earlier file."""

    @property
    def shown(self) -> str:
        return shown(self.name)


Entry = tuple[Member, Iterator[bytes]]
"""A member and its content, which must be read before the next entry."""


def read_name(name: str, *, windows: bool) -> Parts:
    """The components of a member's name. Empty for the context's root. Raises ContextRefused.

    With `windows`, names with backslashes or drive letters are refused: zips may have them.
    """
    complaint = None
    if CONTROL.search(name):
        complaint = "has control characters in its name"
    elif "\ufffd" in name:
        complaint = "has a name that is not UTF-8"
    elif windows and ("\\" in name or _DRIVE.match(name)):
        complaint = "is a Windows path"
    elif name.startswith("/"):
        complaint = "is an absolute path"
    elif not name:
        complaint = "has no name"
    elif len(name.encode()) > PATH_BYTES:
        complaint = f"has a path of more than {PATH_BYTES} bytes"
    if complaint:
        raise _bad_name(name, complaint)
    return _components(name)


def _components(name: str) -> Parts:
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if ".." in parts:
        raise _bad_name(name, "leads out of the build context")
    if any(len(part.encode()) > COMPONENT_BYTES for part in parts):
        raise _bad_name(name, f"has a name of more than {COMPONENT_BYTES} bytes")
    if len(parts) > DEPTH:
        raise _bad_name(name, f"lies more than {DEPTH} folders deep")
    return parts


def _bad_name(name: str, complaint: str) -> ContextRefused:
    return ContextRefused(f"{shown(name)} {complaint}: pack the folder with plain, relative names")


def read_target(name: str, content: bytes) -> str:
    """The target of a symbolic link. It may point anywhere, because Slipway follows no links.

    Raises ContextRefused.
    """
    try:
        target = content.decode()
    except UnicodeDecodeError:
        target = ""
    if not target or "\0" in target:
        raise _bad_link(name, "has no readable target")
    if len(content) > PATH_BYTES:
        raise _bad_link(name, f"has a target of more than {PATH_BYTES} bytes")
    return target


def _bad_link(name: str, complaint: str) -> ContextRefused:
    return ContextRefused(f"the link {shown(name)} {complaint}: put the file itself there")


def is_device(name: str) -> ContextRefused:
    return ContextRefused(
        f"{shown(name)} is a device, pipe or socket: "
        "a build context holds files, folders and links only"
    )


def clamp_time(nanoseconds: int) -> int:
    """Limit a modification time to the range that all file systems and images support."""
    return min(max(nanoseconds, 0), _LATEST_SECOND * 10**9)


class _Node:
    __slots__ = ("children", "described", "kind")

    def __init__(self, kind: Kind, *, described: bool) -> None:
        self.kind = kind
        self.described = described
        self.children: dict[str, _Node] = {}


class Tree:
    """All members so far and their parent folders. O(depth) per member."""

    def __init__(self, limits: ContextLimits) -> None:
        self._limits = limits
        self._root = _Node("folder", described=True)
        self._size = 0

    def add(self, member: Member) -> None:
        """Add a member. Raises ContextRefused if it conflicts with an earlier one."""
        node = self._root
        for depth, part in enumerate(member.parts[:-1], start=1):
            below = node.children.get(part)
            if below is None:
                below = self._grow(node, part, "folder", described=False)
            elif below.kind != "folder":
                raise self._below(member, member.parts[:depth])
            node = below
        name = member.parts[-1]
        known = node.children.get(name)
        if known is None:
            self._grow(node, name, member.kind, described=True)
        elif known.described:
            raise ContextRefused(
                f"{member.shown} is in the archive twice: pack the build context again"
            )
        elif member.kind != "folder":
            raise ContextRefused(
                f"{member.shown} is a folder with members, and then it is not a folder: "
                "pack the build context again"
            )
        else:
            known.described = True

    def kind(self, parts: Parts) -> Kind | None:
        """The kind of the member or folder at a path. None if there is none."""
        node = self._root
        for part in parts:
            below = node.children.get(part)
            if below is None:
                return None
            node = below
        return node.kind

    def _grow(self, node: _Node, name: str, kind: Kind, *, described: bool) -> _Node:
        self._size += 1
        if self._size > self._limits.members:
            raise too_many(self._limits)
        node.children[name] = below = _Node(kind, described=described)
        return below

    def _below(self, member: Member, parent: Parts) -> ContextRefused:
        return ContextRefused(
            f"{member.shown} lies below {shown('/'.join(parent))}, which is not a folder: "
            "pack the build context again"
        )
