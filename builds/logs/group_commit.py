"""Group commit: concurrent writes of many threads are written together by one of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Generic, TypeVar

Given = TypeVar("Given")
Answer = TypeVar("Answer")


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Given, Answer]):
    given: Given
    answers: list[Answer]
    problem: Exception | None = None

    @property
    def done(self) -> bool:
        return bool(self.answers) or self.problem is not None


class Together(Generic[Given, Answer]):
    """Groups concurrent writes. A thread that finds no write in progress writes all waiting items.

    `write_all` returns one answer per item. If it raises one of `shared`, all waiting threads get
    that exception. After any other exception the items are written one by one, as a single item may
    be the cause.
    """

    def __init__(
        self,
        write_all: Callable[[Sequence[Given]], Sequence[Answer]],
        *,
        shared: tuple[type[Exception], ...],
    ) -> None:
        self._write_all = write_all
        self._shared = shared
        self._changed = Condition()
        self._waiting: list[_Waiting[Given, Answer]] = []
        self._busy = False

    def write(self, given: Given) -> Answer:
        """Write an item and return its answer. Blocks until it is written."""
        own = _Waiting[Given, Answer](given, [])
        with self._changed:
            self._waiting.append(own)
            self._changed.wait_for(lambda: own.done or not self._busy)
            due, self._waiting = ([], self._waiting) if own.done else (self._waiting, [])
            self._busy = self._busy or bool(due)
        if due:
            try:
                self._write(due)
            finally:
                with self._changed:
                    self._busy = False
                    # If this thread was interrupted, the others write the remaining items.
                    left = [each for each in due if not each.done and each is not own]
                    self._waiting = left + self._waiting
                    self._changed.notify_all()
        if own.problem is not None:
            raise own.problem
        return own.answers[0]

    def _write(self, due: Sequence[_Waiting[Given, Answer]]) -> None:
        try:
            answers = self._write_all([each.given for each in due])
        except Exception as problem:  # noqa: BLE001 - re-raised in the waiting threads
            if len(due) > 1 and not isinstance(problem, self._shared):
                for each in due:
                    self._write([each])
                return
            for each in due:
                each.problem = problem
        else:
            for each, answer in zip(due, answers, strict=True):
                each.answers.append(answer)
