"""Runs the engine root's skopeo in a sandbox that reaches registries only through our proxy.

The sandbox sees the engine root, a small generated /etc, one output folder and, if needed,
credentials. It runs as the service user in its own namespaces. Its network namespace has only a
loopback device.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from builds.build_spec import StepOutput
from builds.engine_root import Show, sandboxed
from builds.engines.base import TICK_SECONDS
from builds.engines.base_images import launcher
from builds.engines.base_images.addresses import AddressPolicy, Endpoint
from builds.engines.base_images.socks import EgressProxy, Traffic, connect
from builds.engines.sandbox.settings import EngineSettings
from builds.process import CLEAN_ENV, start

# A separate address, so that the forwarder of a configured registry does not take it.
SOCKS_ADDRESS = ("127.255.255.254", 1080)
KILLED = 128 + signal.SIGKILL
SANDBOX_FAULTS = ("bwrap:", "unshare:", "setpriv:", "Traceback ")
MAX_TAIL_BYTES = 8_192
AUTH_PLACE = "/auth.json"
OUT_PLACE = "/out"
TOKEN_OPTIONS = {"inspect": "--registry-token", "copy": "--src-registry-token"}
SKOPEO = (
    "/usr/bin/skopeo",
    *("--policy", "/etc/containers/policy.json", "--tmpdir", "/tmp"),  # noqa: S108
    *("--registries.d", "/etc/containers/registries.d"),
)
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
NAMESPACES = (
    "unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child=KILL", "--",
)  # fmt: skip
ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108  (inside the sandbox)
    "TMPDIR": "/tmp",  # noqa: S108
    "GOMEMLIMIT": "512MiB",
    **dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY"), f"socks5://{SOCKS_ADDRESS[0]}:{SOCKS_ADDRESS[1]}"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """One run of skopeo."""

    arguments: tuple[str, ...]
    policy: AddressPolicy
    max_bytes: int
    """Limit of the traffic in both directions together."""
    max_output: int
    """Limit of standard output, in bytes."""
    until: float
    """Deadline by the monotonic clock, in seconds."""
    auth_file: Path | None = None
    token: str = field(default="", repr=False)
    """Bearer token for the registry. Users of this machine can read it while skopeo runs."""
    out: Path | None = None
    known: Mapping[str, Path] = field(default_factory=dict)
    """Files that the store already has, by path: mounted read-only below the output folder."""
    traffic: Traffic = field(default_factory=Traffic)
    """Updated during the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The result of one run of skopeo."""

    exit_code: int | None
    """None if it was killed because of the deadline or `max_output`."""
    output: bytes
    errors: str
    """The end of its standard error. It contains text from servers: do not show it to users."""
    traffic: Traffic
    timed_out: bool
    flooded: bool
    """Whether it wrote more than `max_output` to standard output."""

    @property
    def was_killed(self) -> bool:
        """Whether another process killed it."""
        return self.exit_code is not None and (self.exit_code < 0 or self.exit_code == KILLED)

    @property
    def never_started(self) -> bool:
        """Whether the sandbox failed to start, so that skopeo did not run."""
        return bool(self.exit_code) and self.errors.startswith(SANDBOX_FAULTS)


class FetchSandbox:
    """Runs skopeo in sandboxes. Generates their /etc at the first run."""

    def __init__(
        self,
        settings: EngineSettings,
        etc: Path,
        *,
        connect: Callable[[str, int, float], socket.socket] = connect,
    ) -> None:
        self._settings = settings
        self._etc = etc
        self._connect = connect
        self._written = False

    def run(self, fetch: Fetch) -> Generator[StepOutput, None, Fetched]:
        """Run skopeo, yielding ticks until it ends. Closing the generator kills it.

        Raises ProcessError.
        """
        self._write_etc()
        targets = loopback_targets(fetch.policy.configured)
        output, errors = bytearray(), b""
        with ExitStack() as stack:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(ours)
            proxy = EgressProxy(
                fetch.policy,
                traffic=fetch.traffic,
                max_bytes=fetch.max_bytes,
                connect=self._connect,
            )
            stack.callback(proxy.close)
            with theirs:
                child = stack.enter_context(
                    start(
                        self._command(fetch, theirs.fileno(), targets),
                        env=CLEAN_ENV,
                        cwd=Path("/"),
                        pass_fds=[theirs.fileno()],
                    )
                )
            proxy.serve(ours, [None, *(target for _, target in targets)])
            timed_out = flooded = False
            for stream, data in child.read(TICK_SECONDS):
                if stream == "stdout":
                    output += data
                else:
                    errors = (errors + data)[-MAX_TAIL_BYTES:]
                yield StepOutput("stderr", b"")
                timed_out = time.monotonic() > fetch.until
                flooded = len(output) > fetch.max_output
                if timed_out or flooded:
                    break
            # No process may write to the output folder any more: `unshare` has waited for all.
            exit_code = None if timed_out or flooded else child.exit_code
        return Fetched(
            exit_code=exit_code,
            output=bytes(output),
            errors=errors.decode(errors="replace"),
            traffic=fetch.traffic,
            timed_out=timed_out,
            flooded=flooded,
        )

    def _command(
        self, fetch: Fetch, control: int, targets: Sequence[tuple[Endpoint, Endpoint]]
    ) -> list[str]:
        root = self._settings.engine_root
        readable = {"/etc": self._etc}
        if fetch.auth_file is not None:
            readable[AUTH_PLACE] = fetch.auth_file
        authentication = ["--authfile", AUTH_PLACE] if fetch.auth_file is not None else []
        name, *rest = fetch.arguments
        if fetch.token:
            authentication += [TOKEN_OPTIONS[name], fetch.token]
        skopeo = sandboxed(
            root,
            [*SKOPEO, name, *authentication, *rest],
            show=Show(readable=readable, writable={OUT_PLACE: fetch.out} if fetch.out else {}),
            network=True,
            env=ENVIRONMENT,
        )
        # After all other mounts, so that these are on top of the output folder.
        last = skopeo.index("--remount-ro")
        skopeo[last:last] = ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
        for path, shown in fetch.known.items():
            skopeo[last:last] = ["--ro-bind", str(shown), f"{OUT_PLACE}/{path}"]
        listeners = [SOCKS_ADDRESS, *(listener for listener, _ in targets)]
        return [
            *NAMESPACES,
            *(sys.executable, "-I", "-S", launcher.__file__),
            *(str(control), str(fetch.max_bytes)),
            *(f"[{address}]:{port}" for address, port in listeners),
            *("--", *skopeo),
        ]

    def _write_etc(self) -> None:
        if self._written:
            return
        containers = self._etc / "containers"
        (containers / "registries.d").mkdir(parents=True, exist_ok=True)
        (containers / "registries.conf.d").mkdir(exist_ok=True)
        _write(containers / "policy.json", json.dumps(POLICY).encode())
        _write(containers / "registries.conf", registries_conf(self._settings).encode())
        _write(self._etc / "passwd", b"root:x:0:0:root:/:/bin/false\n")
        _write(self._etc / "group", b"root:x:0:\n")
        _write(self._etc / "hosts", b"127.0.0.1 localhost\n")
        _write(self._etc / "nsswitch.conf", b"hosts: files\n")
        certificates = self._etc / "ssl/certs"
        certificates.mkdir(parents=True, exist_ok=True)
        if CERTIFICATES.exists():
            _write(certificates / "ca-certificates.crt", CERTIFICATES.read_bytes())
        self._written = True


def loopback_targets(configured: Iterable[Endpoint]) -> list[tuple[Endpoint, Endpoint]]:
    """Forwarders for configured registries on loopback, for which skopeo uses no proxy.

    Returns pairs of the endpoint to listen on in the sandbox and the endpoint to forward to.
    """
    found: dict[Endpoint, Endpoint] = {}
    for host, port in sorted(configured):
        address = "127.0.0.1" if host == "localhost" else host
        try:
            is_loopback = ip_address(address).is_loopback
        except ValueError:
            continue
        if is_loopback and (address, port) != SOCKS_ADDRESS:
            found.setdefault((address, port), (host, port))
    return sorted(found.items())


def registries_conf(settings: EngineSettings) -> str:
    """Mirrors and insecure registries in the format of containers-registries.conf(5)."""
    insecure = settings.insecure_registries
    mirrors: dict[str, list[str]] = {}
    for name, mirror in settings.mirrors:
        mirrors.setdefault(name, []).append(mirror)
    lines = ["unqualified-search-registries = []", 'short-name-mode = "disabled"']
    for name in sorted(insecure | mirrors.keys()):
        lines += ["", "[[registry]]", f"prefix = {json.dumps(name)}"]
        lines += [f"location = {json.dumps(name)}", f"insecure = {_flag(name, insecure)}"]
        for mirror in mirrors.get(name, []):
            lines += ["", "[[registry.mirror]]", f"location = {json.dumps(mirror)}"]
            lines.append(f"insecure = {_flag(mirror, insecure)}")
    return "\n".join(lines) + "\n"


def _flag(location: str, insecure: frozenset[str]) -> str:
    return json.dumps(location in insecure or location.partition("/")[0] in insecure)


def _write(path: Path, data: bytes) -> None:
    if path.exists() and path.read_bytes() == data:
        return
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_bytes(data)
    new.chmod(0o644)
    new.replace(path)
