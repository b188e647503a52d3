"""Error codes: stable, told apart, and documented."""

import re

from common.error_codes import ERROR_CODES, CodedError, generic_code
from tests.instance import ROOT

ROW = re.compile(r"\| (\d+) \| `(\w+)` \| (.+?) \| (.+?) \|")


def test_the_table_in_the_docs_is_the_one_in_the_code() -> None:
    rows = ROW.findall((ROOT / "docs" / "api.md").read_text())
    known = [(str(e.status), e.code, e.text, e.advice) for e in ERROR_CODES.values()]
    assert sorted(rows) == sorted(known)


def test_codes_are_words_and_statuses_are_errors() -> None:
    for code, kind in ERROR_CODES.items():
        assert code == kind.code
        assert re.fullmatch("[a-z]+(_[a-z]+)*", code)
        assert 400 <= kind.status < 600
        assert generic_code(kind.status).status == kind.status, f"{code} has no code of its status"


def test_values_stand_in_the_text_as_they_are() -> None:
    taken = CodedError(ERROR_CODES["key_name_taken"], name="{x}")
    assert "{x}" in str(taken)
    assert taken.error_code.status == 409


def test_an_unknown_status_has_the_code_of_its_class() -> None:
    assert (generic_code(418).code, generic_code(599).code) == ("bad_request", "internal_error")
