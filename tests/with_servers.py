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
from contextlib import contextmanager
from pathlib import Path
from typing import Self

WAIT_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """A server on a port of its own, which may be ended and started again on the same data."""

    def __init__(self, argv: list[str], *, port: int, url: str, stop: signal.Signals) -> None:
        self.argv, self.port, self.url, self.stop_signal = argv, port, url, stop
        self.running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it takes connections."""
        self.running = running = subprocess.Popen(
            self.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + WAIT_SECONDS
        while not answers(self.port):
            if running.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{self.argv[0]} did not start")
            time.sleep(0.05)

    def stop(self) -> None:
        if self.running is not None:
            self.running.send_signal(self.stop_signal)
            self.running.wait(WAIT_SECONDS)

    def kill(self) -> None:
        if self.running is not None:
            kill(self.running)


def kill(process: subprocess.Popen[bytes]) -> None:
    """It and its children, none of which gets to do another thing."""
    process.send_signal(signal.SIGSTOP)
    subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
    process.kill()
    process.wait()


def postgres(folder: Path) -> Server:
    """A new cluster in memory-like settings; PostgreSQL refuses to run as root.

    Without fsync what was committed survives its own death, though not the machine's.
    """
    binaries = max(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name)
    )
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
    if os.geteuid() != 0:
        become = []
    else:
        shutil.chown(folder, "postgres", "postgres")
    data, port = folder / "data", free_port()
    init = [binaries / "initdb", "-D", data, "-U", "slipway", "-A", "trust", "--no-sync"]
    init += ["-E", "UTF8"]
    subprocess.run([*become, *map(str, init)], check=True, stdout=subprocess.DEVNULL)
    options = ["fsync=off", f"port={port}", "listen_addresses=127.0.0.1", "max_connections=200"]
    options += [f"unix_socket_directories={folder}"]
    serve = [*become, str(binaries / "postgres"), "-D", str(data)]
    for option in options:
        serve += ["-c", option]
    url = f"postgres://slipway@127.0.0.1:{port}/postgres"
    return Server(serve, port=port, url=url, stop=signal.SIGINT)


def redis(folder: Path) -> Server:
    """One that keeps nothing: whatever was in it is gone when it starts again."""
    port = free_port()
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    url = f"redis://127.0.0.1:{port}/0"
    return Server([*argv, "--dir", str(folder)], port=port, url=url, stop=signal.SIGTERM)


@contextmanager
def running_servers() -> Iterator[tuple[Server, Server]]:
    """A PostgreSQL and a Redis, running."""
    with tempfile.TemporaryDirectory(prefix="slipway-servers-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "pg").mkdir()
        with postgres(folder / "pg") as database, redis(folder) as queue:
            yield database, queue


def main(command: list[str]) -> int:
    with running_servers() as (database, queue):
        environment = {**os.environ, "DATABASE_URL": database.url, "REDIS_URL": queue.url}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
