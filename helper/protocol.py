"""Parses requests to the helper: one JSON object per message, with every field validated."""

import ipaddress
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

MESSAGE_BYTES = 16 << 10
MAX_DESCRIPTORS = 4
SLOTS = 8
DENY_ENTRIES = 512
LISTED = 500
MEMORY_BYTES = (64 << 20, 1 << 46)
PIDS = (32, 1 << 22)
CPUS = (0.01, 4096.0)
CACHE_BYTES = (64 << 20, 16 << 40)

T = TypeVar("T")


class Refused(Exception):
    """The helper refuses a request. `code` is for programs, `text` for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one sandbox. `cpus` is a number of processors, such as 1.5."""

    memory_bytes: int
    pids: int
    cpus: float


@dataclass(frozen=True, slots=True)
class Info:
    """Return what the helper can do on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartBuilder:
    """Start a builder for an owner. Each slot has its own cache. `deny`: networks to block."""

    owner: UUID
    slot: int
    network: bool
    deny: tuple[str, ...]
    limits: Limits
    cache_bytes: int


@dataclass(frozen=True, slots=True)
class SetLimits:
    """Change the limits of the connection's builder."""

    limits: Limits


@dataclass(frozen=True, slots=True)
class GetUsage:
    """Return the resource usage of the connection's builder."""


@dataclass(frozen=True, slots=True)
class Trim:
    """Return unused space of the builder's cache to the host, in the background."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill the connection's builder and answer when it is completely removed."""


@dataclass(frozen=True, slots=True)
class DropCache:
    """Remove the owner's caches that no builder uses."""

    owner: UUID


@dataclass(frozen=True, slots=True)
class ListCaches:
    """List caches by name, at most `LISTED`, because messages have a bounded size."""

    after: str
    """`next` of the previous answer, or empty."""


Request = Info | StartBuilder | SetLimits | GetUsage | Trim | Kill | DropCache | ListCaches


def parse(data: bytes) -> Request:
    """Parse a request. Raises Refused("malformed") if it is invalid or out of bounds."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed("not JSON") from error
    if not isinstance(message, dict):
        raise _malformed("not a JSON object")
    fields = _Fields(message)
    parser = _PARSERS.get(fields.take("op", _text))
    if parser is None:
        raise _malformed("unknown op")
    request = parser(fields)
    fields.end()
    return request


def encode(answer: Mapping[str, object]) -> bytes:
    return json.dumps(answer).encode()


class _Fields:
    """Takes fields out of a message one by one. `end` refuses the fields that are left."""

    def __init__(self, message: dict[str, Any]) -> None:
        self._left = dict(message)

    def take(self, name: str, check: Callable[[str, Any], T], default: Any = None) -> T:
        value = self._left.pop(name, default)
        if value is None:
            raise _malformed(f"{name} is missing")
        return check(name, value)

    def end(self) -> None:
        if self._left:
            raise _malformed("unknown fields")


def _start_builder(fields: _Fields) -> StartBuilder:
    return StartBuilder(
        owner=fields.take("owner", _uuid),
        slot=fields.take("slot", _int(0, SLOTS - 1), 0),
        network=fields.take("network", _bool),
        deny=fields.take("deny", _networks, []),
        limits=fields.take("limits", _limits),
        cache_bytes=fields.take("cache_bytes", _int(*CACHE_BYTES)),
    )


_PARSERS: dict[str, Callable[[_Fields], Request]] = {
    "info": lambda fields: Info(),
    "builder": _start_builder,
    "limits": lambda fields: SetLimits(fields.take("limits", _limits)),
    "usage": lambda fields: GetUsage(),
    "trim": lambda fields: Trim(),
    "kill": lambda fields: Kill(),
    "drop": lambda fields: DropCache(fields.take("owner", _uuid)),
    "caches": lambda fields: ListCaches(fields.take("after", _text, "")),
}


def _malformed(text: str) -> Refused:
    return Refused("malformed", text)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _malformed(f"{name} is not a string")
    return value


def _bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _malformed(f"{name} is not a boolean")
    return value


def _int(low: int, high: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _malformed(f"{name} is not an integer from {low} to {high}")
        return value

    return check


def _uuid(name: str, value: Any) -> UUID:
    try:
        found = UUID(_text(name, value))
    except ValueError:
        raise _malformed(f"{name} is not a UUID") from None
    if str(found) != value:
        raise _malformed(f"{name} is not a UUID in its usual form")
    return found


def _networks(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > DENY_ENTRIES:
        raise _malformed(f"{name} is not a list of at most {DENY_ENTRIES} networks")
    try:
        return tuple(str(ipaddress.ip_network(_text(name, item), strict=False)) for item in value)
    except ValueError:
        raise _malformed(f"{name} has an entry that is not a network") from None


def _limits(name: str, value: Any) -> Limits:
    if not isinstance(value, dict):
        raise _malformed(f"{name} is not an object")
    fields = _Fields(value)
    limits = Limits(
        memory_bytes=fields.take("memory_bytes", _int(*MEMORY_BYTES)),
        pids=fields.take("pids", _int(*PIDS)),
        cpus=fields.take("cpus", _cpus),
    )
    fields.end()
    return limits


def _cpus(name: str, value: Any) -> float:
    low, high = CPUS
    if type(value) not in {int, float} or not math.isfinite(value) or not low <= value <= high:
        raise _malformed(f"{name} is not a number from {low} to {high}")
    return float(value)
