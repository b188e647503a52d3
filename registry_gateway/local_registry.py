"""The registry that Slipway starts if none is configured, so that images can be pulled."""

import json
import threading
from logging import getLogger
from pathlib import Path
from time import monotonic, sleep

import httpx

from builds import process
from builds.engine_root import EngineRoot, NoEngineRoot
from builds.registry.tokens import ISSUER, SERVICE, Signer
from builds.worker import WORKER
from registry_gateway.proxy import RegistryGuard

READY_SECONDS = 15.0
COLLECT_SECONDS = 600.0
"""Interval of garbage collection (only after deletions), and its time limit."""
SOCKET, CERTIFICATE = "socket", "tokens.pem"
CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
  maintenance: {{uploadpurging: {{enabled: true, age: 24h, interval: 24h, dryrun: false}}}}
http: {{net: unix, addr: {socket}}}
auth:
  token:
    realm: {realm}
    service: {service}
    issuer: {issuer}
    rootcertbundle: {certificate}
"""
logger = getLogger(__name__)


class LocalRegistry:
    """A `docker-registry` child process behind the proxy. It is restarted if it ends."""

    def __init__(
        self, *, engine_root: EngineRoot, address: str, folder: Path, signer: Signer
    ) -> None:
        self._engine_root = engine_root
        self.address = address
        self.folder = folder
        self._signer = signer
        self._guard = RegistryGuard(address=address, path=folder / SOCKET, signer=signer)
        self._stopping = threading.Event()
        self._child: process.Child | None = None
        self._keeper = threading.Thread(target=self._keep, name="registry", daemon=True)
        self._collector = threading.Thread(target=self._collect, name="collector", daemon=True)

    def start(self) -> None:
        """Start it and wait until it answers. Raises ProcessError or OSError if it does not."""
        try:
            self._engine_root.find()
        except NoEngineRoot as problem:
            raise process.ProcessError(str(problem)) from problem
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / CERTIFICATE).write_text(self._signer.certificate)
        (self.folder / "config.yml").write_text(
            CONFIG.format(
                root=json.dumps(str(self.folder / "data")),
                socket=SOCKET,
                realm=json.dumps(self._signer.realm),
                service=SERVICE,
                issuer=ISSUER,
                certificate=CERTIFICATE,
            )
        )
        self._guard.start()
        self._keeper.start()
        until = monotonic() + READY_SECONDS
        while not self._answers():
            if monotonic() > until or not self._keeper.is_alive():
                self.stop()
                log = self.folder / "log"
                said = log.read_text(errors="replace")[-500:] if log.exists() else ""
                raise process.ProcessError(f"the registry did not start: {said}")
            sleep(0.05)
        self._collector.start()

    def collect(self) -> bool:
        """Remove layers that no image uses. Returns False, without doing it, while builds run.

        Raises ProcessError.
        """
        with WORKER.rest() as alone:
            if alone:
                self._guard.deletions = 0
                process.run(self._command("garbage-collect"), deadline=COLLECT_SECONDS)
        return alone

    def stop(self) -> None:
        self._stopping.set()
        if self._child is not None:
            self._child.stop(2.0)
        self._guard.stop()

    def _command(self, verb: str) -> list[str]:
        # The paths in the configuration are relative to its folder. It listens on a socket there
        # and has no network.
        folder = self.folder.absolute()
        return self._engine_root.command(
            "docker-registry", verb, "config.yml", writable=[folder], cwd=folder
        )

    def _answers(self) -> bool:
        try:
            # Plain HTTP: loading CA certificates would take longer than the registry's start.
            url = f"http://{self.address}/v2/"
            answer = httpx.get(url, trust_env=False, verify=False)  # noqa: S501
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.UNAUTHORIZED

    def _keep(self) -> None:
        while not self._stopping.is_set():
            command = self._command("serve")
            with process.start(command, log=self.folder / "log") as self._child:
                for _tick in self._child.read():
                    pass
            if not self._stopping.wait(1.0):
                logger.error("the registry ended; it is started again")

    def _collect(self) -> None:
        while not self._stopping.wait(COLLECT_SECONDS):
            if self._guard.deletions:
                try:
                    self.collect()
                except process.ProcessError:
                    logger.exception("what deleted images left in the registry was not removed")
