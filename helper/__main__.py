"""Entry point: `python3 -I -S helper/__main__.py --data-dir … --engine-root …`."""

import argparse
import os
import resource
import sys
from pathlib import Path

# Appended, so that no file next to this package can replace a module of the standard library.
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from helper import syscalls
from helper.folders import FolderError
from helper.server import Server


def main() -> int:
    parser = argparse.ArgumentParser(prog="slipway-helper")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--engine-root", type=Path, required=True)
    parser.add_argument("--service-uid", type=int, default=os.getuid())
    parser.add_argument("--service-gid", type=int, default=os.getgid())
    parser.add_argument("--lifeline", type=int, help="a pipe; the helper ends when it closes")
    parser.add_argument("--ready", type=int, help="a pipe; written to when the socket is there")
    arguments = parser.parse_args()
    for fd in (arguments.lifeline, arguments.ready):
        if fd is not None:
            os.set_inheritable(fd, False)
    os.umask(0o077)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    syscalls.become_subreaper()
    try:
        server = Server(
            arguments.data_dir.resolve(),
            arguments.engine_root,
            service_uid=arguments.service_uid,
            service_gid=arguments.service_gid,
        )
        server.serve(lifeline=arguments.lifeline, ready=arguments.ready)
    except FolderError as error:
        sys.stderr.write(f"slipway-helper: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
