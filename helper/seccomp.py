"""System call filter of a builder sandbox.

* fsync and similar calls do nothing: caches are recreated after a crash of the machine, and a tiny
  build would spend a third of its time in fsync.
* Only sockets of the families that builds need are allowed, so AF_VSOCK, AF_PACKET, AF_ALG and the
  kernel's less tested protocols are not reachable. io_uring is refused because it can bypass the
  filter to create sockets, and socketcall of 32-bit programs because the filter cannot read its
  arguments, which are behind a pointer.
"""

import errno
import platform
import struct
from dataclasses import dataclass

FAMILIES = (1, 2, 10, 16)  # unix, inet, inet6, netlink
IO_URING_SETUP = 425

LOAD, EQUAL, GREATER_OR_EQUAL, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_AT, ARCHITECTURE_AT, ARGUMENT_AT = 0, 4, 16
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
X32_BIT = 0x40000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """System call numbers of one architecture."""

    audit: int
    syncing: tuple[int, ...]
    """fsync, fdatasync, sync_file_range, sync, syncfs. msync is not filtered."""
    socket: tuple[int, ...]
    """socket, socketpair."""
    refused: tuple[int, ...] = ()


X86_64 = Architecture(audit=0xC000003E, syncing=(74, 75, 277, 162, 306), socket=(41, 53))
I386 = Architecture(
    audit=0x40000003, syncing=(118, 148, 314, 36, 344), socket=(359, 360), refused=(102,)
)
AARCH64 = Architecture(audit=0xC00000B7, syncing=(82, 83, 84, 81, 267), socket=(198, 199))
ARM = Architecture(
    audit=0x40000028, syncing=(118, 148, 341, 36, 373), socket=(281, 288), refused=(102,)
)
MACHINES = {"x86_64": (X86_64, I386), "aarch64": (AARCH64, ARM)}


def program(machine: str = platform.machine()) -> bytes:
    """The filter as a BPF program. Empty for machines that are not in MACHINES."""
    architectures = MACHINES.get(machine)
    if architectures is None:
        return b""
    steps: list[tuple[int, int, int, int]] = [(LOAD, 0, 0, ARCHITECTURE_AT)]
    for architecture in architectures:
        block = _block(architecture)
        steps += [(EQUAL, 0, len(block), architecture.audit), *block]
    steps.append(_errno(errno.ENOSYS))  # any other architecture
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _block(architecture: Architecture) -> list[tuple[int, int, int, int]]:
    steps = [(LOAD, 0, 0, NUMBER_AT)]
    if architecture is X86_64:
        steps += [(GREATER_OR_EQUAL, 0, 1, X32_BIT), _errno(errno.ENOSYS)]
    for number in architecture.syncing:
        steps += [(EQUAL, 0, 1, number), _errno(0)]
    for number in (IO_URING_SETUP, *architecture.refused):
        steps += [(EQUAL, 0, 1, number), _errno(errno.ENOSYS)]
    for number in architecture.socket:
        check = [(LOAD, 0, 0, ARGUMENT_AT)]
        for family in FAMILIES:
            check += [(EQUAL, 0, 1, family), (RETURN, 0, 0, ALLOW)]
        check.append(_errno(errno.EAFNOSUPPORT))
        steps += [(EQUAL, 0, len(check), number), *check]
    return [*steps, (RETURN, 0, 0, ALLOW)]


def _errno(number: int) -> tuple[int, int, int, int]:
    return (RETURN, 0, 0, ERRNO | number)
