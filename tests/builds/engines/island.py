"""An internet of two machines, made of network namespaces: run as `unshare --net python -m …`.

The island is the build server; its neighbour plays the public internet, a private network and a
cloud's metadata service. Prints, as JSON, which of them answered builds, and which answered the
same probe in a plain slirp4netns network.
"""

import json
import socketserver
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from builds.engines.base import BuildFailed
from builds.engines.buildkit import BuildKitEngine
from builds.engines.sandbox.settings import EngineSettings
from builds.process import Child, run, start
from helper.start import start_helper
from tests.builds.engines.conftest import Ran, Workshop, drive
from tests.engine_root import ENGINE_ROOT

PORT = 8099
ISLAND = "198.51.100.1"
PUBLIC = "198.51.100.7"
INSIDE = ("10.9.9.9", "100.64.9.9", "172.16.9.9", "192.168.9.9", "169.254.169.254")
GATEWAY = "10.0.2.2"
TARGETS = (PUBLIC, ISLAND, GATEWAY, *INSIDE)


class Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.settimeout(0.2)
        with suppress(TimeoutError):  # a probe that asks nothing gets its answer, too
            self.request.recv(4096)
        self.request.sendall(b"HTTP/1.0 200 OK\r\n\r\nreached\n")


def serve(port: int = PORT) -> int:
    """Answer on every address; the port, which may be asked for as 0."""
    server = socketserver.ThreadingTCPServer(("0.0.0.0", port), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chosen: int = server.server_address[1]
    return chosen


def in_net(child: Child, *command: str) -> str:
    finished = run(
        ["nsenter", "--net", f"--target={child.pid}", *command], deadline=10, check=False
    )
    return finished.stdout.decode() + finished.stderr.decode()


def probe(address: str) -> str:
    return f"busybox nc -w 2 {address} {PORT} </dev/null 2>&1"


def reached(said: str) -> bool:
    return "reached" in said


def settle() -> Child:
    """The neighbour, with every address but the island's; returns the process that is it."""
    run(["ip", "link", "set", "lo", "up"], deadline=5)
    neighbour = start(["unshare", "--net", sys.executable, "-m", __spec__.name, "neighbour"])
    time.sleep(0.3)
    run(["ip", "link", "add", "v0", "type", "veth", "peer", "v1", "netns", str(neighbour.pid)],
        deadline=5)  # fmt: skip
    run(["ip", "addr", "add", f"{ISLAND}/24", "dev", "v0"], deadline=5)
    run(["ip", "link", "set", "v0", "up"], deadline=5)
    in_net(neighbour, "ip", "link", "set", "lo", "up")
    in_net(neighbour, "ip", "addr", "add", f"{PUBLIC}/24", "dev", "v1")
    in_net(neighbour, "ip", "link", "set", "v1", "up")
    for address in INSIDE:
        in_net(neighbour, "ip", "addr", "add", f"{address}/32", "dev", "lo")
        run(["ip", "route", "add", f"{address}/32", "via", PUBLIC], deadline=5)
    return neighbour


def from_plain_network() -> dict[str, bool]:
    with ExitStack() as stack:
        room = stack.enter_context(start(["unshare", "--net", "sleep", "60"]))
        time.sleep(0.2)
        stack.enter_context(start(["slirp4netns", "--configure", str(room.pid), "tap0"]))
        time.sleep(0.5)
        found = {a: reached(in_net(room, "sh", "-c", probe(a))) for a in TARGETS}
    found["127.0.0.1"] = reached(
        run(["sh", "-c", probe("127.0.0.1")], deadline=5, check=False).stdout.decode()
    )
    return found


def from_builds(workshop: Workshop) -> dict[str, bool]:
    targets = [*TARGETS, "127.0.0.1"]
    script = "; ".join(f"echo {a} $({probe(a)} | tail -n 1)" for a in targets)
    said = workshop.run(f"FROM BASE\nRUN ONCE; {script}\n", network=True).stdout.decode()
    found = {a: f"{a} reached\n" in said for a in targets}
    for address in (PUBLIC, ISLAND, "127.0.0.1"):
        add = f"FROM BASE\nADD http://{address}:{PORT}/x /x\nRUN ONCE; cat /x\n"
        ran = Ran()
        with suppress(BuildFailed):
            drive(workshop.engine.build(workshop.spec(add, network=True)), ran)
        found[f"ADD {address}"] = b"reached\n" in ran.stdout
    return found


def main(root: str, base: str) -> None:
    serve()
    folder = Path(root, "island")
    folder.mkdir()
    helper = start_helper(folder, ENGINE_ROOT.find())
    settings = EngineSettings(
        root=Path(root, "engine"),
        engine_root=ENGINE_ROOT.find(),
        helper_socket=helper.socket,
        base_refresh_seconds=86_400,
        private_registries=frozenset({base.partition("/")[0]}),
    )
    engine = BuildKitEngine(settings)
    workshop = Workshop(engine=engine, folder=folder, base=base)
    with settle():
        try:
            builds = from_builds(workshop)
        finally:
            workshop.clear()
            engine.close()
            helper.stop()
        sys.stdout.write(json.dumps({"builds": builds, "control": from_plain_network()}))


if __name__ == "__main__":
    if sys.argv[1:] == ["neighbour"]:
        serve()
        threading.Event().wait()
    else:
        main(*sys.argv[1:])
