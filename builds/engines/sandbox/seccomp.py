"""The system call filter behind the wall: waiting for the disk is a promise nobody there needs.

A build's files are either pushed and checked, or cache. Without this a tiny build spends a third
of its time in fsync, and a package manager far more. `folders` knows which stores a crash of the
machine may therefore have spoilt.
"""

import platform
import struct

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# fsync, fdatasync, sync_file_range, sync, syncfs; msync keeps its meaning.
SYNCING = {"x86_64": (74, 75, 277, 162, 306), "aarch64": (82, 83, 84, 81, 267)}

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4
ALLOW, DO_NOTHING = 0x7FFF0000, 0x00050000


def program(machine: str = platform.machine()) -> bytes:
    """The filter in the kernel's form; empty for a machine whose numbers are not known here."""
    if machine not in AUDIT_ARCH:
        return b""
    numbers = SYNCING[machine]
    steps = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUAL, 0, len(numbers) + 1, AUDIT_ARCH[machine]),  # another one's calls: allowed
        (LOAD, 0, 0, NUMBER_AT),
        *((EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, DO_NOTHING),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
