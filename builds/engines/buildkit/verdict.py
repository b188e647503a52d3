"""Explains why a build failed: from the client's output, the failed step and the limits reached.

A RUN step may forge parts of this output. It only selects the message for the owner of the build,
who wrote that step.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from builds.build_spec import Step
from builds.context import leaves_out
from builds.engines.base import BuildFailed, EngineBroken, EngineError

STEP_CHARACTERS = 120
TEXT_CHARACTERS = 600
REASON_CHARACTERS = 300
CRASH_SIGNALS = {132: "SIGILL", 134: "SIGABRT", 136: "SIGFPE", 139: "SIGSEGV"}
NOT_FOUND, NOT_EXECUTABLE, KILLED = 127, 126, 137

_LINE = re.compile(r"^Dockerfile:(\d+)$", re.MULTILINE)
_PARSE_LINE = re.compile(r"dockerfile parse error on line (\d+): ")
_ERROR = re.compile(r"^ERROR: (?:failed to solve: )?(.*)", re.MULTILINE | re.DOTALL)
_EXIT = re.compile(r"did not complete successfully: exit code: (\d+)")
_RUNC = re.compile(r"runc run failed: unable to start container process: (.*)")
_PROGRAM = re.compile(r'exec: "(?P<name>[^"]*)":')
_SET_MODE = "is not executable: set its mode, for example with COPY --chmod=755."
_CARRIAGE_RETURN = re.compile(r"\r'?: not found")
# BuildKit's internal names, and paths in its sandbox: not shown to users.
_INSIDES = (
    (re.compile(r"failed to (?:compute|calculate) (?:cache key|checksum)[^:\"]*: "), ""),
    (re.compile(r"failed to load cache key: "), ""),
    (re.compile(r"failed to calculate checksum of ref \S+: "), ""),
    (re.compile(r"failed to copy (?:files|file info): "), ""),
    (re.compile(r" ?ref [a-z0-9]+::[a-z0-9]+"), ""),
    (re.compile(r"/b/owner/data/\S*?/buildkit\d+(?=/)"), ""),
    (re.compile(r"/b/(?:owner|output|definition|context|bases)/\S*"), "…"),
    (re.compile(r"/run/\S*buildkit\S*"), "…"),
    (re.compile(r"rpc error: code = \w+ desc = "), ""),
)
_IDS = re.compile(
    r"chown [^:]*: invalid argument"
    r"|unable to find (?:user|group)[^:]*: invalid argument"
    r"|invalid (?:uid|gid)"
)
_IDS_OF_RUN = re.compile(
    r"unable to setup user: invalid argument"
    r"|\b[fl]?chown\b.*: invalid argument"
    r"|invalid argument, [fl]?chown\b",
    re.IGNORECASE,
)
_NO_SPACE = re.compile(r"no space left on device", re.IGNORECASE)
_DENIED_BASE = re.compile(r'source "docker-image://([^"]+)" (?:denied|not allowed) by policy')
_MISSING_SOURCE = re.compile(r'"([^"]+)": not found')
_DAMAGED = re.compile(
    r"unexpected EOF|gzip: invalid|archive/tar|invalid (?:tar )?header|flate: corrupt",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The facts about a build that ended without an image."""

    exit_code: int
    """The client's exit code, negative if a signal ended it."""
    text: str
    """The client's output outside of progress objects."""
    step: Step | None
    """The step that failed itself."""
    step_error: str
    step_tail: bytes
    """The end of that step's output."""
    oom_kills: int
    """Processes that the kernel killed for lack of memory during this build."""
    pids_refused: int
    memory_bytes: int
    pids: int
    disk_full: bool
    """Whether the owner's cache image has less than 1 % of its bytes or inodes free."""
    excluded: str = ""
    """A source of COPY that is in the context but excluded by `.dockerignore`. Empty: none."""


def verdict(found: Evidence, *, original: Callable[[str], str]) -> EngineError:
    """The error to raise. Its text is one line and begins with the line of the Dockerfile.

    `original` replaces the internal names of base images by what the user wrote.
    """
    reason = original(_reason(found))
    line = _line(found)
    where = f"Dockerfile line {line}: " if line else ""
    if found.oom_kills and (found.step or found.exit_code < 0):
        limit = found.memory_bytes >> 20
        subject = _subject(found.step)
        return BuildFailed(
            f"{where}{subject} used more memory than the build's limit of {limit} MiB.",
            code="memory",
            exit_code=_exit_code(found, reason),
        )
    tail = found.step_tail.decode(errors="replace")
    if _NO_SPACE.search(reason) or _NO_SPACE.search(tail) or _ended_by_full_disk(found, reason):
        return BuildFailed(
            f"{where}The disk space of this owner's builds is used up: remove files in the RUN "
            "step that makes them, or build a smaller image.",
            code="disk",
        )
    if not found.text.strip() or found.exit_code < 0:
        return EngineBroken(
            f"The builder ended without a verdict (exit code {found.exit_code}).", code="died"
        )
    if _EXIT.search(reason) and found.step is not None:
        return _failed_run(found, reason, where)
    return _refused(found, reason, where, line)


def _ended_by_full_disk(found: Evidence, reason: str) -> bool:
    """Whether a full disk ended the daemon: then the client reports no reason."""
    return found.disk_full and not _EXIT.search(reason)


def _failed_run(found: Evidence, reason: str, where: str) -> BuildFailed:
    code = _exit_code(found, reason)
    subject = _subject(found.step)
    text = f"{where}{subject} failed with exit code {code}.{_run_hint(found, code)}"
    return BuildFailed(text, code="step", exit_code=code)


def _run_hint(found: Evidence, code: int | None) -> str:
    tail = found.step_tail.decode(errors="replace")
    if _IDS_OF_RUN.search(tail):
        return " User and group ids end at 65535 here."
    if started := _RUNC.search(tail):
        program = _PROGRAM.search(started[1])
        name = program["name"] if program else "the program"
        reasons = {
            NOT_FOUND: f"{name} does not exist in the image.",
            NOT_EXECUTABLE: f"{name} {_SET_MODE}",
        }
        return f" {reasons.get(code or 0, shorten(started[1].strip(), 200))}"
    if found.pids_refused:
        return f" The build reached its limit of {found.pids} processes."
    hints = (
        (code == KILLED, "The program was killed (SIGKILL)."),
        (code in CRASH_SIGNALS, f"The program crashed ({CRASH_SIGNALS.get(code or 0)})."),
        (code == NOT_EXECUTABLE and "ermission denied" in tail, f"The file {_SET_MODE}"),
        (
            code == NOT_FOUND and _CARRIAGE_RETURN.search(tail),
            "The script has Windows line ends: save it with LF.",
        ),
    )
    return next((f" {text}" for applies, text in hints if applies), "")


def _refused(found: Evidence, reason: str, where: str, line: int | None) -> BuildFailed:
    if denied := _DENIED_BASE.search(reason):
        return BuildFailed(
            f"{where}The image {denied[1]} is used in a way that Slipway cannot see before the "
            "build: name it in a FROM instruction of its own.",
            code="base",
        )
    clean = _PARSE_LINE.sub("", reason)
    if found.step is None or line is None:
        return BuildFailed(shorten(f"{where}{clean}", TEXT_CHARACTERS), code="syntax")
    missing = _MISSING_SOURCE.search(clean)
    short = shorten(clean, REASON_CHARACTERS)
    why = (
        (_IDS.search(reason), "user and group ids end at 65535 here."),
        (
            found.excluded,
            f"{found.excluded} is in the build context, but .dockerignore leaves it out.",
        ),
        (missing, f"{missing and missing[1]} does not exist."),
        (_DAMAGED.search(clean), f"the archive is damaged: {short}"),
        (True, short),
    )
    text = next(text for applies, text in why if applies)
    return BuildFailed(f"{where}{_subject(found.step)} failed: {text}", code="step")


def _reason(found: Evidence) -> str:
    error = _ERROR.search(found.text)
    reason = " ".join((error[1] if error else found.text or found.step_error).split())
    for pattern, to in _INSIDES:
        reason = pattern.sub(to, reason)
    return reason.strip()


def _line(found: Evidence) -> int | None:
    parse = _PARSE_LINE.search(found.text)
    named = parse or _LINE.search(found.text)
    if named:
        return int(named[1])
    return found.step.line if found.step else None


def _exit_code(found: Evidence, reason: str) -> int | None:
    said = _EXIT.search(reason)
    if said is None:
        return None
    code = int(said[1])
    started = _RUNC.search(found.step_tail.decode(errors="replace"))
    if code == 1 and started:
        # runc's own exit code. Docker uses 127 and 126 in these cases.
        if "no such file" in started[1] or "not found" in started[1]:
            return NOT_FOUND
        if "permission denied" in started[1] or "is a directory" in started[1]:
            return NOT_EXECUTABLE
    return code


def _subject(step: Step | None) -> str:
    return "The build" if step is None else shorten(step.text, STEP_CHARACTERS)


def shorten(text: str, most: int) -> str:
    """Cut out the middle: the beginning names the command, the end often names the cause."""
    if len(text) <= most:
        return text
    front = (most - 3) * 2 // 3
    return f"{text[:front]} … {text[-(most - 3 - front) :]}"


def excluded_source(context: Path, step: Step | None, text: str) -> str:
    """The file that the step did not find because `.dockerignore` excludes it. Empty: none."""
    from_context = step is not None and "--from=" not in step.text
    missing = _MISSING_SOURCE.search(text) if from_context else None
    path = missing[1].lstrip("/") if missing else ""
    return path if path and leaves_out(context, path) else ""
