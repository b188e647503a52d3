"""The registry that Slipway starts when none is named, so that results can really be pulled."""

import threading
from logging import getLogger
from pathlib import Path
from time import monotonic, sleep

import httpx

from builds import process

READY_SECONDS = 15.0
CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
  maintenance: {{uploadpurging: {{enabled: true, age: 24h, interval: 24h, dryrun: false}}}}
http: {{addr: "{address}"}}
"""
logger = getLogger(__name__)


class LocalRegistry:
    """A `docker-registry` child on loopback, started again should it die."""

    def __init__(self, *, address: str, folder: Path) -> None:
        self.address = address
        self.folder = folder
        self._stopping = threading.Event()
        self._child: process.Child | None = None
        self._keeper = threading.Thread(target=self._keep, name="registry", daemon=True)

    def start(self) -> None:
        """Returns when it answers; raises ProcessError when it does not come up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.yml"
        config.write_text(CONFIG.format(root=self.folder / "data", address=self.address))
        self._keeper.start()
        until = monotonic() + READY_SECONDS
        while not self._answers():
            if monotonic() > until or not self._keeper.is_alive():
                self.stop()
                log = self.folder / "log"
                said = log.read_text(errors="replace")[-500:] if log.exists() else ""
                raise process.ProcessError(f"the registry did not start: {said}")
            sleep(0.05)

    def stop(self) -> None:
        self._stopping.set()
        if self._child is not None:
            self._child.stop(2.0)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/v2/", trust_env=False).status_code == 200  # noqa: PLR2004
        except httpx.TransportError:
            return False

    def _keep(self) -> None:
        while not self._stopping.is_set():
            command: list[str | Path] = ["docker-registry", "serve", self.folder / "config.yml"]
            with process.start(command, log=self.folder / "log") as self._child:
                for _tick in self._child.read():
                    pass
            if not self._stopping.wait(1.0):
                logger.error("the registry ended; it is started again")
