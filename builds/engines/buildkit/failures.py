"""The state of one run of the client, and the error for a run that failed."""

import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from builds.build_spec import BuildEvent, BuildSpec, StepOutput
from builds.engines.base import BuildInterrupted, EngineBroken, EngineError
from builds.engines.buildkit.builders import Builder
from builds.engines.buildkit.progress import ProgressReader
from builds.engines.buildkit.rawjson import Malformed, RawJson
from builds.engines.buildkit.verdict import Evidence, excluded_source, verdict
from builds.engines.sandbox.helper import BuilderUsage, HelperError

TAIL_BYTES = 8_192
FULL = 0.01
LEAST_INODES = 16
_DAMAGED = (
    "structure needs cleaning",
    "bad message",
    "input/output error",
    "read-only file system",
)
_OUTPUT_LOST = {
    f"ERROR: failed to receive status: {reason}"
    for reason in (
        "context canceled",
        "rpc error: code = Canceled desc = context canceled",
    )
}
_OTHER_CONTENT = ("unexpected commit digest", "failed size validation")
SIGNALLED = 128
"""Exit codes above this mean that a signal ended the program."""
KILLED = SIGNALLED + signal.SIGKILL


class CacheDamaged(Exception):
    """The builder could not use its owner's cache."""


@dataclass(slots=True)
class ClientRun:
    """The state of one run of the client."""

    progress: ProgressReader
    before: BuilderUsage
    json: RawJson = field(default_factory=RawJson)
    tails: dict[int | None, bytes] = field(default_factory=dict)
    exit_code: int = 0

    @property
    def lost_output(self) -> bool:
        """Whether the client discarded progress that was unread three seconds after the build.

        The message is the client's whole last line, which a Dockerfile cannot forge.
        """
        last = self.json.text.strip().rpartition("\n")[2]
        return last in _OUTPUT_LOST and self.progress.failed is None

    @property
    def doubts_bases(self) -> bool:
        """Whether BuildKit reported content with a wrong digest or size.

        A build can forge this message, so the bases are verified before anything is removed.
        """
        return any(sign in self.json.text for sign in _OTHER_CONTENT)

    def events(self, data: bytes) -> Iterator[BuildEvent]:
        """Parse a piece of the client's stderr into events. Raises EngineBroken."""
        try:
            for value in self.json.feed(data):
                for event in self.progress.read(value):
                    if isinstance(event, StepOutput):
                        tail = self.tails.get(event.step, b"") + event.data
                        self.tails[event.step] = tail[-TAIL_BYTES:]
                    yield event
        except (Malformed, KeyError, TypeError, ValueError) as error:
            text = f"The builder's progress cannot be read: {error}"
            raise EngineBroken(text, code="progress") from error


def failure_of(spec: BuildSpec, builder: Builder, run: ClientRun) -> EngineError:
    """The error for a failed run.

    Raises CacheDamaged if the cache is damaged, or BuildInterrupted if the builder was killed.
    """
    after = usage_after(builder, run)
    full = bool(after.disk_size) and (
        after.disk_free < after.disk_size * FULL or after.inodes_free < LEAST_INODES
    )
    said = run.json.text.lower()
    if after.disk_damaged:
        raise CacheDamaged(run.json.text)
    if not full and after.oom_kill == run.before.oom_kill:
        if any(sign in said for sign in _DAMAGED) and "did not complete" not in said:
            raise CacheDamaged(run.json.text)
        if builder.ended:
            raise_for_end(builder)
        if run.exit_code < 0 or (run.exit_code == KILLED and "error:" not in said):
            return BuildInterrupted("The client of the build was killed.", code="client")
    failed = run.progress.failed
    steps = {step.number: step for step in spec.dockerfile.steps}
    step = steps.get(failed) if failed else None
    return verdict(
        Evidence(
            exit_code=run.exit_code,
            text=run.json.text,
            step=step,
            step_error=run.progress.error_of(failed) if failed else "",
            step_tail=run.tails.get(failed, b""),
            oom_kills=after.oom_kill - run.before.oom_kill,
            pids_refused=after.pids_max - run.before.pids_max,
            memory_bytes=spec.limits.memory_bytes,
            pids=spec.limits.pids,
            disk_full=full,
            excluded=excluded_source(spec.context, step, run.json.text),
        ),
        original=spec.dockerfile.original,
    )


def usage_after(builder: Builder, run: ClientRun) -> BuilderUsage:
    """The builder's usage now or when it ended. If unknown, its usage before the build."""
    try:
        return builder.sandbox.usage()
    except HelperError:
        return builder.sandbox.last_usage or run.before


def warn_of_kills(after: BuilderUsage, run: ClientRun) -> Generator[BuildEvent, None, None]:
    """Yield a warning if processes of a successful build were killed for lack of memory."""
    kills = after.oom_kill - run.before.oom_kill
    if kills > 0:
        text = f"WARNING: {kills} process(es) of this build were killed for lack of memory.\n"
        yield StepOutput("stderr", text.encode())


def raise_for_end(builder: Builder) -> None:
    """If the builder has ended, raise BuildInterrupted if it was killed, else CacheDamaged."""
    if not builder.ended:
        return
    code = builder.sandbox.exit_code
    if code is None:
        raise BuildInterrupted("The helper that runs builders was killed.", code="helper")
    if code <= 0 or code > SIGNALLED:  # by a signal, or as dockerd ends on SIGTERM
        raise BuildInterrupted("The builder was killed.", code="builder")
    raise CacheDamaged(builder.log_tail)
