"""The user that Slipway runs as when it is started as root, and how a process becomes that user.

Standard library only: it runs as root, before anything else is imported.
"""

import ctypes
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 4, 8, 38
CAP_NET_BIND_SERVICE = 10
CAPABILITY_VERSION = 0x20080522
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
    # Else /proc/self would belong to root, and this process could not read it.
    prctl(PR_SET_DUMPABLE, 1)


def prctl(option: int, value: int) -> None:
    check(libc.prctl(option, value, 0, 0, 0))


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
