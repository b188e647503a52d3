"""The user that Slipway runs as when it is started as root, and how a process becomes that user.

Standard library only: it runs as root, before anything else is imported.
"""

import ctypes
import errno
import os
import platform
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 8, 22, 38
CAP_NET_BIND_SERVICE = 10
CAPABILITY_VERSION = 0x20080522
SECCOMP_MODE_FILTER = 2
REFUSE, ALLOW = 0x00050000 | errno.EPERM, 0x7FFF0000
LOAD, IF_EQUAL, IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER, ARCHITECTURE, SECOND_ARGUMENT = 0, 4, 24
"""Offsets in the seccomp filter's input (struct seccomp_data)."""
X32 = 0x40000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
IOCTL = {"x86_64": (0xC000003E, 16), "aarch64": (0xC00000B7, 29)}
"""By machine: the audit number of the architecture, and the number of ioctl."""
libc = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """Slipway cannot start. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """An unprivileged account."""

    name: str
    uid: int
    gid: int


def find_user(name: str) -> ServiceUser:
    """Find an account. Raises StartError if there is none or it is root."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        text = f"there is no user {name} to run as: deploy/machine.sh makes it, or set SLIPWAY_USER"
        raise StartError(text) from None
    if entry.pw_uid == 0:
        raise StartError("SLIPWAY_USER is root: Slipway runs as an unprivileged user only")
    return ServiceUser(name, entry.pw_uid, entry.pw_gid)


@contextmanager
def acting_as(user: ServiceUser) -> Iterator[None]:
    """Use the user's rights for access to files in the block. For single-threaded processes."""
    group, groups = os.getegid(), os.getgroups()
    os.initgroups(user.name, user.gid)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def become(user: ServiceUser, *, low_ports: bool) -> None:
    """Become the user for good. With `low_ports`, this process may listen on ports below 1024.

    Its children may not. Raises OSError.
    """
    os.initgroups(user.name, user.gid)
    os.setresgid(user.gid, user.gid, user.gid)
    if low_ports:
        prctl(PR_SET_KEEPCAPS, 1)
    os.setresuid(user.uid, user.uid, user.uid)
    if low_ports:
        _keep_one_capability(CAP_NET_BIND_SERVICE)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    _protect_terminal()
    # Otherwise /proc/self belongs to root, and this process cannot read it.
    prctl(PR_SET_DUMPABLE, 1)


def prctl(option: int, value: int) -> None:
    check(libc.prctl(option, value, 0, 0, 0))


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction))]


def _protect_terminal() -> None:
    """Forbid this process and its children to insert input into its terminal (TIOCSTI)."""
    if platform.machine() not in IOCTL:
        return
    architecture, ioctl = IOCTL[platform.machine()]
    # Jumps are numbers of skipped instructions. The last two instructions are allow and refuse.
    program = [
        (LOAD, 0, 0, ARCHITECTURE),
        (IF_EQUAL, 0, 7, architecture),
        (LOAD, 0, 0, NUMBER),
        (IF_AT_LEAST, 5, 0, X32),
        (IF_EQUAL, 0, 3, ioctl),
        (LOAD, 0, 0, SECOND_ARGUMENT),
        (IF_EQUAL, 2, 0, TIOCSTI),
        (IF_EQUAL, 1, 0, TIOCLINUX),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    instructions = (_Instruction * len(program))(*(_Instruction(*each) for each in program))
    given = _Filter(len(program), instructions)
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(given), 0, 0))


def check(result: int) -> None:
    """Raise OSError if a function of the C library returned -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _keep_one_capability(number: int) -> None:
    # Neither inheritable nor ambient, so programs that this process starts do not get it.
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    bits = 1 << number
    data = (ctypes.c_uint32 * 6)(bits, bits, 0, 0, 0, 0)
    check(libc.capset(header, data))
