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
"""Offsets of what a filter is given."""
X32 = 0x40000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
IOCTL = {"x86_64": (0xC000003E, 16), "aarch64": (0xC00000B7, 29)}
"""By machine: the architecture as filters see it, and the call's number."""
libc = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """Slipway cannot be started like this. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """An account without privileges."""

    name: str
    uid: int
    gid: int


def find_user(name: str) -> ServiceUser:
    """Raises StartError."""
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
    """Access to files is that user's meanwhile. For a process with one thread."""
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
    """Be that user for good. With `low_ports` this process, but no child, may listen below 1024."""
    os.initgroups(user.name, user.gid)
    os.setresgid(user.gid, user.gid, user.gid)
    if low_ports:
        prctl(PR_SET_KEEPCAPS, 1)
    os.setresuid(user.uid, user.uid, user.uid)
    if low_ports:
        _keep_one_capability(CAP_NET_BIND_SERVICE)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    _protect_terminal()
    # Else /proc/self would belong to root, and this process could not read it.
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
    """Forbid this process and its children to type into the terminal of whoever started it."""
    if platform.machine() not in IOCTL:
        return
    architecture, ioctl = IOCTL[platform.machine()]
    # Jumps count the instructions that are skipped; the last two are allow and refuse.
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
    """Raises OSError where a function of the C library returned -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _keep_one_capability(number: int) -> None:
    # Neither inheritable nor ambient: a program that is started has none.
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    bits = 1 << number
    data = (ctypes.c_uint32 * 6)(bits, bits, 0, 0, 0, 0)
    check(libc.capset(header, data))
