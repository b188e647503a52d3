"""Runs short system commands and waits for them. Only for processes that may block."""

import os
from collections.abc import Callable, Sequence

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENV = {"PATH": PATH, "LANG": "C"}
OUTPUT_BYTES = 4096


class CommandError(Exception):
    """A command failed. The message has its exit code and the start of its output."""


def find(name: str) -> str | None:
    """Find a program of this host in a fixed search path, which the environment cannot change."""
    for folder in PATH.split(":"):
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None


def run(
    argv: Sequence[str],
    *,
    stdin: str = "",
    prepare: Callable[[], None] | None = None,
    keep: Sequence[int] = (),
) -> None:
    """Run a command and wait for it. Raises CommandError.

    `stdin` must fit into a pipe. `prepare` is called in the new process before the command starts.
    The command inherits the descriptors `keep`.
    """
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(in_read, 0)
            os.dup2(out_write, 1)
            os.dup2(out_write, 2)
            for fd in keep:
                os.set_inheritable(fd, True)
            if prepare is not None:
                prepare()
            os.execve(argv[0], list(argv), ENV)
        except OSError as error:
            os.write(2, str(error).encode())
        finally:
            os._exit(127)
    os.close(in_read)
    os.close(out_write)
    with os.fdopen(in_write, "wb") as file:
        file.write(stdin.encode())
    output = b""
    while chunk := os.read(out_read, OUTPUT_BYTES):
        output = (output + chunk)[:OUTPUT_BYTES]
    os.close(out_read)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        text = output.decode(errors="replace").strip()
        raise CommandError(f"{os.path.basename(argv[0])} ended with {code}: {text}")
