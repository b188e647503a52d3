"""First program in a fetch sandbox's network namespace: opens the listeners, then runs COMMAND.

`launcher.py CONTROL MAX_BYTES ADDRESS:PORT… -- COMMAND…`. It imports the standard library only,
because it is run by path, outside the package. The listeners are sent to the worker over the
socket with the descriptor CONTROL; COMMAND inherits none of them. MAX_BYTES limits each file that
COMMAND writes.
"""

import fcntl
import os
import resource
import socket
import struct
import sys

SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x1 | 0x40
DATA_BYTES = 2 << 30
BACKLOG = 64


def main() -> None:
    control, max_bytes = int(sys.argv[1]), int(sys.argv[2])
    split = sys.argv.index("--")
    places, command = sys.argv[3:split], sys.argv[split + 1 :]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))
    listeners = []
    for place in places:
        address, _, port = place.rpartition(":")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.strip("[]"), int(port)))
        listener.listen(BACKLOG)
        listeners.append(listener)
    with socket.socket(fileno=control) as worker:
        socket.send_fds(worker, [b"l"], [each.fileno() for each in listeners])
    for limit, value in (
        (resource.RLIMIT_FSIZE, max_bytes),
        (resource.RLIMIT_DATA, DATA_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (allowed, allowed))
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
