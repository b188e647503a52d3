"""Copies a finished image from its folder into a registry: `skopeo copy`, watched."""

import re
import stat
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from builds import process
from builds.build_spec import Output
from builds.engine_root import EngineRoot, NoEngineRoot
from builds.registry.auth import RegistryError

TICK_SECONDS = 0.25
RETRY_SECONDS = (1.0, 4.0, 10.0)
"""Waits before the next try. What was pushed before is there already, so a try costs little."""
_REASON_CHARACTERS = 300
_KEPT_BYTES = 8_192
_MESSAGE = re.compile(r'level=(?:fatal|error) msg="((?:[^"\\]|\\.)*)"')
# Trying again would say the same.
_LASTING = re.compile(
    r"unauthorized|authentication required|denied|forbidden|invalid|unsupported|does not match"
    r"|no such file|not found|unknown blob|x509|server gave HTTP response|initializing source",
    re.IGNORECASE,
)


Auth = Callable[[], AbstractContextManager[tuple[Path | None, tuple[int, ...]]]]
"""Where skopeo finds credentials during one try, and what has to be open for that."""


class PushFailed(RegistryError):
    """The image did not arrive, after all tries that made sense."""


def push_layout(
    layout: Path,
    *,
    engine_root: EngineRoot,
    reference: str,
    insecure: bool,
    auth: Auth,
) -> Generator[Output, None, None]:
    """Copies the one image in an OCI layout to `host/repository:tag`, its digest unchanged.

    Yields what skopeo says, and a tick at least every TICK_SECONDS; closing it ends skopeo. The
    password is in a file, which skopeo reads itself, and never in an argument.
    """
    check_layout(layout)
    copy = _Copy(engine_root, layout.absolute(), reference, insecure)
    for wait in (*RETRY_SECONDS, None):
        problem = yield from _try(copy, auth)
        if problem is None:
            return
        if wait is None or _LASTING.search(problem):
            raise PushFailed(f"pushing {reference} failed: {problem}")
        yield "stderr", f"Push interrupted, next try in {wait:g} s: {problem}\n".encode()
        until = monotonic() + wait
        while monotonic() < until:
            sleep(min(TICK_SECONDS, wait))
            yield "stdout", b""


@dataclass(frozen=True, slots=True)
class _Copy:
    """One image on its way: all but the credentials."""

    engine_root: EngineRoot
    layout: Path
    reference: str
    insecure: bool

    def command(self, auth_file: Path | None) -> list[str]:
        arguments = [
            *("copy", "--insecure-policy", "--preserve-digests"),
            f"--dest-tls-verify={str(not self.insecure).lower()}",
            *(["--dest-authfile", auth_file] if auth_file else ["--dest-no-creds"]),
            # A colon in the path would begin a tag, so the path is only a name.
            f"oci:{self.layout.name}",
            f"docker://{self.reference}",
        ]
        # A descriptor's file is in /proc, which is there anyway.
        shown = [auth_file] if auth_file and not auth_file.is_relative_to("/proc") else []
        return self.engine_root.command(
            "skopeo",
            *arguments,
            readable=[self.layout, *shown],
            cwd=self.layout.parent,
            network=True,
        )


def _try(copy: _Copy, auth: Auth) -> Generator[Output, None, str | None]:
    said = b""
    try:
        with (
            auth() as (file, fds),
            process.start(copy.command(file.absolute() if file else None), pass_fds=fds) as child,
        ):
            output = child.read(TICK_SECONDS)
            while True:
                stream, data = next(output)
                if stream == "stderr":
                    said = (said + data)[-_KEPT_BYTES:]
                    data = b""
                yield stream, data
    except StopIteration as end:
        return _reason(said.decode(errors="replace")) if end.value else None
    except (process.ProcessError, NoEngineRoot) as error:
        raise PushFailed(str(error)) from error
    except RegistryError as error:
        return str(error)  # it did not say whose credentials it wants


def _reason(said: str) -> str:
    """The sentence in skopeo's last message, which is a log record."""
    messages = _MESSAGE.findall(said)
    text = re.sub(r"\\(.)", r"\1", messages[-1]) if messages else said
    text = " ".join(text.split()) or "skopeo gave no reason"
    return text if len(text) <= _REASON_CHARACTERS else f"{text[:_REASON_CHARACTERS]}…"


def check_layout(layout: Path) -> None:
    """A build that broke its wall could have left links to the host's files, or pipes, in here."""
    waiting = [layout]
    while waiting:
        path = waiting.pop()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            waiting.extend(path.iterdir())
        elif not stat.S_ISREG(mode):
            raise PushFailed(f"the finished image holds something odd: {path.name!r} is no file")
