"""A real server of S3, on loopback and in a folder: what `rclone serve s3` is."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.with_servers import answers, free_port

KEY, SECRET = "access-key", "secret-of-that-key"
BUCKET = "slipway-files"


@dataclass(frozen=True)
class S3:
    port: int
    folder: Path
    """What is in the bucket lies here."""
    process: "subprocess.Popen[bytes]"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, prefix: str = "some/where") -> dict[str, str]:
        """Of a Slipway that keeps its files there."""
        return {
            "SLIPWAY_STORAGE": f"s3://{BUCKET}/{prefix}?endpoint={self.endpoint}&region=us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def stored(self) -> set[str]:
        files = (each for each in self.folder.rglob("*") if each.is_file())
        return {str(each.relative_to(self.folder)) for each in files}


@contextmanager
def running_s3(folder: Path) -> Iterator[S3]:
    bucket = folder / BUCKET
    bucket.mkdir(parents=True)
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("rclone")),
        "serve",
        "s3",
        str(folder),
        "--config",
        "",
    ]
    command += ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while not answers(port):
            assert process.poll() is None, "it did not start"
            assert time.monotonic() < until, "it does not answer"
            time.sleep(0.05)
        yield S3(port, bucket, process)
    finally:
        process.terminate()
        process.wait(20)
