"""An internet of two machines, made of network namespaces: run as `unshare --net python -m …`.

This machine runs the helper; its neighbour plays the public internet, a private network and a
cloud's metadata service. Prints as JSON which addresses answered a build, and which answered the
same probe in a plain slirp4netns network.
"""

import json
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helper.running import make_base, running_builder, running_helper, wait_for

PORT = 8099
OWN = "203.0.113.1"
PUBLIC = "203.0.113.7"
DENIED = "198.51.100.9"
INSIDE = ("10.9.9.9", "100.64.9.9", "172.16.9.9", "192.168.9.9", "169.254.169.254", DENIED)
GATEWAY = "10.0.2.2"
TARGETS = (PUBLIC, OWN, GATEWAY, *INSIDE)


class Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"reached\n")


def serve() -> None:
    server = socketserver.ThreadingTCPServer(("0.0.0.0", PORT), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def probe(address: str) -> str:
    return f"echo {address} $(busybox nc -w 2 {address} {PORT} </dev/null 2>&1)"


def ip(*arguments: str, inside: int | None = None) -> None:
    enter = ["nsenter", "--net", f"--target={inside}"] if inside else []
    subprocess.run([*enter, "ip", *arguments], check=True)


@contextmanager
def neighbour() -> Iterator[None]:
    ip("link", "set", "lo", "up")
    argv = ["unshare", "--net", sys.executable, "-m", __spec__.name, "neighbour"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"serving\n"
        ip("link", "add", "v0", "type", "veth", "peer", "v1", "netns", str(process.pid))
        ip("addr", "add", f"{OWN}/24", "dev", "v0")
        ip("link", "set", "v0", "up")
        ip("link", "set", "lo", "up", inside=process.pid)
        ip("addr", "add", f"{PUBLIC}/24", "dev", "v1", inside=process.pid)
        ip("link", "set", "v1", "up", inside=process.pid)
        for address in INSIDE:
            ip("addr", "add", f"{address}/32", "dev", "lo", inside=process.pid)
            ip("route", "add", f"{address}/32", "via", PUBLIC)
        yield
        process.kill()


def plain() -> dict[str, bool]:
    """Which addresses answer without the helper's routes."""
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as room:
        time.sleep(0.3)
        slirp = ["slirp4netns", "--configure", str(room.pid), "tap0"]
        with subprocess.Popen(
            slirp, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as feeder:
            argv = ["nsenter", "--net", f"--target={room.pid}", "sh", "-c"]
            routes = [*argv, "ip route | grep -q default"]
            wait_for(lambda: not subprocess.run(routes, check=False).returncode, "slirp4netns")
            script = "; ".join(map(probe, TARGETS))
            said = subprocess.check_output([*argv, script], text=True)
            feeder.kill()
        room.kill()
    return answers(said)


def answers(said: str) -> dict[str, bool]:
    return {address: f"{address} reached" in said for address in TARGETS}


def build(folder: Path, *, network: bool) -> dict[str, bool]:
    base = make_base(folder / f"base-{network}")
    script = "; ".join(map(probe, TARGETS))
    with (
        running_helper(folder / "data") as helper,
        running_builder(helper, folder / "worker", network=network, deny=[DENIED]) as builder,
    ):
        done = builder.build(f"{base}RUN {script}\n", context=folder / f"base-{network}")
        assert done.succeeded, done.output
        found = answers(done.output)
        for address in (PUBLIC, OWN, DENIED):
            text = f"{base}ADD http://{address}:{PORT}/x /x\n"
            added = builder.build(text, context=folder / f"base-{network}")
            # Anything but a closed network: the answer is no HTTP.
            found[f"ADD {address}"] = "malformed HTTP" in added.output
    return found


if __name__ == "__main__":
    serve()
    if sys.argv[1:] == ["neighbour"]:
        sys.stdout.write("serving\n")
        sys.stdout.flush()
        threading.Event().wait()
    else:
        with neighbour():
            place = Path(sys.argv[1])
            result = {
                "build": build(place, network=True),
                "offline": build(place, network=False),
                "plain": plain(),
            }
        sys.stdout.write(json.dumps(result))
