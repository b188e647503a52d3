"""Writes of many threads in one."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from builds.logs.group_commit import Together


class Away(Exception):
    """As a database that is away."""


class Store:
    """Keeps what was written together; the first write waits until it is let go."""

    def __init__(self, *, fails: Exception | BaseException | None = None) -> None:
        self.batches: list[list[int]] = []
        self.began, self.go_on = threading.Event(), threading.Event()
        self.fails = fails

    def write_all(self, given: Sequence[int]) -> list[int]:
        self.batches.append(list(given))
        if len(self.batches) == 1:
            self.began.set()
            assert self.go_on.wait(5)
        elif self.fails is not None and 3 in given:
            raise self.fails
        return [10 * each for each in given]


def together(store: Store, numbers: Sequence[int]) -> list[object]:
    """The answers, or what was raised instead: for 1, and for the others that came meanwhile."""
    both = Together(store.write_all, shared=(Away,))

    def write(number: int) -> object:
        try:
            return both.write(number)
        except BaseException as problem:  # noqa: BLE001 - it is what is asked for
            return problem

    with ThreadPoolExecutor(len(numbers)) as threads:
        first = threads.submit(write, numbers[0])
        assert store.began.wait(5)
        others = [threads.submit(write, each) for each in numbers[1:]]
        while len(both._waiting) < len(others):
            pass
        store.go_on.set()
        return [first.result(5), *(each.result(5) for each in others)]


def test_what_comes_while_somebody_writes_is_written_at_once_afterwards() -> None:
    store = Store()
    assert together(store, [1, 2, 3, 4]) == [10, 20, 30, 40]
    assert [sorted(each) for each in store.batches] == [[1], [2, 3, 4]]


def test_a_fault_of_one_is_told_to_that_one_only() -> None:
    problem = ValueError("of the third")
    store = Store(fails=problem)
    assert together(store, [1, 2, 3, 4]) == [10, 20, problem, 40]


def test_a_database_that_is_away_is_told_to_all_and_asked_once() -> None:
    problem = Away()
    store = Store(fails=problem)
    assert together(store, [1, 2, 3]) == [10, problem, problem]
    assert len(store.batches) == 2


def test_a_thread_that_is_interrupted_leaves_the_others_to_themselves() -> None:
    problem = KeyboardInterrupt()
    store = Store()

    def interrupted(given: Sequence[int]) -> list[int]:
        store.batches.append(list(given))
        if len(store.batches) == 1:
            store.began.set()
            assert store.go_on.wait(5)
        elif len(store.batches) == 2:
            raise problem
        return [10 * each for each in given]

    store.write_all = interrupted  # type: ignore[method-assign]
    found = together(store, [1, 2, 3])
    assert found[0] == 10
    assert sorted(map(str, found[1:])) in (["", "20"], ["", "30"])


def test_a_second_write_of_the_same_thread_follows_the_first() -> None:
    both = Together[int, int](list, shared=())
    assert [both.write(each) for each in (1, 2)] == [1, 2]


def test_an_error_when_nobody_else_writes_is_raised() -> None:
    def fail(given: Sequence[int]) -> list[int]:
        raise ValueError(given)

    with pytest.raises(ValueError, match="7"):
        Together(fail, shared=()).write(7)
