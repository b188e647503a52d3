"""docs/reference-weaknesses.md names every weakness, and only tests that exist."""

import re
from functools import cache

from tests.instance import ROOT

PAGE = (ROOT / "docs" / "reference-weaknesses.md").read_text()
ENTRIES = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
FUNCTION = re.compile(r"^(?:async )?def (\w+)\(", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def functions_in(path: str) -> frozenset[str]:
    return frozenset(FUNCTION.findall((ROOT / path).read_text()))


def test_every_weakness_has_its_number() -> None:
    assert [int(number) for number, _ in ENTRIES] == list(range(1, 33))


def test_every_weakness_has_a_test_or_a_reason_why_it_cannot_apply() -> None:
    for number, text in ENTRIES:
        assert NAMED.search(text) or "Cannot apply: " in text, number


def test_every_test_that_is_named_exists() -> None:
    for path, name in NAMED.findall(PAGE):
        assert name in functions_in(path), f"{path}::{name}"
    assert len(NAMED.findall(PAGE)) == PAGE.count("::")
