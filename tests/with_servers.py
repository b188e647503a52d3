"""`python -m tests.with_servers COMMAND…`: runs it with a PostgreSQL and a Redis of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

WAIT_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def child(argv: list[str], *, port: int, stop: signal.Signals) -> Iterator[None]:
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            until = time.monotonic() + WAIT_SECONDS
            while not answers(port):
                if running.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{argv[0]} did not start")
                time.sleep(0.05)
            yield
        finally:
            running.send_signal(stop)
            running.wait(WAIT_SECONDS)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A new cluster in memory-like settings; PostgreSQL refuses to run as root."""
    binaries = max(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name)
    )
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
    if os.geteuid() != 0:
        become = []
    else:
        shutil.chown(folder, "postgres", "postgres")
    data, port = folder / "data", free_port()
    init = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "slipway",
        "-A",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
    ]
    subprocess.run([*become, *map(str, init)], check=True, stdout=subprocess.DEVNULL)
    options = ["fsync=off", f"port={port}", "listen_addresses=127.0.0.1", "max_connections=200"]
    options += [f"unix_socket_directories={folder}"]
    serve = [*become, str(binaries / "postgres"), "-D", str(data)]
    for option in options:
        serve += ["-c", option]
    with child(serve, port=port, stop=signal.SIGINT):
        yield f"postgres://slipway@127.0.0.1:{port}/postgres"


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    port = free_port()
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with child([*argv, "--dir", str(folder)], port=port, stop=signal.SIGTERM):
        yield f"redis://127.0.0.1:{port}/0"


def main(command: list[str]) -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-servers-")))
        folder.chmod(0o755)
        (folder / "pg").mkdir()
        database = stack.enter_context(postgres(folder / "pg"))
        queue = stack.enter_context(redis(folder))
        environment = {**os.environ, "DATABASE_URL": database, "REDIS_URL": queue}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
