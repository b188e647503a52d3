"""No secret leaves in any of its spellings, however the stream was cut."""

import base64
import json
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.logs.masking import Masker

SECRET = 's3cr/t+"pä ss'


def masked(*pieces: bytes, secrets: tuple[str, ...] = (SECRET,)) -> bytes:
    masker = Masker(secrets)
    return b"".join([*map(masker.feed, pieces), masker.flush()])


def cut(data: bytes, borders: list[int]) -> list[bytes]:
    places = [0, *sorted(border % (len(data) + 1) for border in borders), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        json.dumps(SECRET)[1:-1].replace("/", "\\/"),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_every_spelling_is_masked_wherever_it_stands(spelling: str) -> None:
    raw = spelling.encode()
    assert masked(raw) == b"***"
    assert masked(b"token=" + raw + b" next") == b"token=*** next"
    assert masked(b"a" + raw + b"b" + raw + b"c") == b"a***b***c"


@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
@pytest.mark.parametrize("after", ["", "x", "xy", "@host"])
def test_base64_of_a_text_around_the_secret_is_masked(before: str, after: str) -> None:
    encoded = base64.b64encode((before + SECRET + after).encode())
    shown = masked(b"Authorization: Basic " + encoded + b"\n")
    assert b"***" in shown
    kept = shown.removeprefix(b"Authorization: Basic ").replace(b"***", b"").strip()
    # What may stay are the characters that hold the text around it, each side's border included.
    assert len(kept) <= len(base64.b64encode((before + after).encode())) + 4


def test_go_writes_json_that_is_safe_in_html_and_it_is_masked_too() -> None:
    assert masked(rb"a\u003cb\u0026\u003e", secrets=("a<b&>",)) == b"***"


def test_each_line_of_a_secret_of_several_lines_is_a_secret() -> None:
    key = "-----BEGIN KEY-----\nabcdefgh\nijklmnop\n-----END KEY-----\n"
    assert masked(key.encode(), secrets=(key,)) == b"***"
    assert masked(b"> abcdefgh <", secrets=(key,)) == b"> *** <"
    assert masked(json.dumps(key).encode(), secrets=(key,)) == b'"***"'


def test_text_without_secrets_passes_at_once_and_unchanged() -> None:
    masker = Masker([SECRET])
    assert masker.feed(b"hello\nworld\n\x00\xff") == b"hello\nworld\n\x00\xff"
    assert masker.flush() == b""
    assert masked(b"anything", secrets=()) == b"anything"


def test_only_what_may_begin_a_secret_is_held_back() -> None:
    masker = Masker(["secret"])
    assert masker.feed(b"a sec") == b"a "
    assert masker.feed(b"ond ") == b"second "
    assert masker.feed(b"secre") == b""
    assert masker.flush() == b"secre"
    assert masker.feed(b"t") == b"t"


def test_a_secret_that_begins_like_another_is_masked_whole() -> None:
    secrets = ("abcd", "abcdefgh")
    assert masked(b"abcd", b"efgh", secrets=secrets) == b"***"
    assert masked(b"abcd", b"efg", secrets=secrets) == b"***efg"


def test_secrets_that_overlap_leave_nothing_between_them() -> None:
    secrets = ("abcdef", "defghi")
    assert masked(b"abcdefghi", secrets=secrets) == b"***"
    assert masked(b"abcdef", b"ghi.", secrets=secrets) == b"***."
    assert masked(b"aaaaaaaaaa", secrets=("aaaa",)) == b"***"


def test_what_is_too_short_to_be_a_secret_is_not_masked() -> None:
    assert masked(b"a b c abc", secrets=("", "a", "abc")) == b"a b c abc"
    assert masked(b"abcd", secrets=("abcd",)) == b"***"


_texts = st.text(st.sampled_from("ab/ \n"), min_size=4, max_size=7)
_bytes = st.lists(
    st.sampled_from([b"a", b"b", b"/", b" ", b"\n", b"%2F", b"\\n", b"YWJh"]), max_size=40
)


@given(secret=_texts, other=_texts, noise=_bytes, borders=st.lists(st.integers(0, 500), max_size=8))
def test_any_chunking_gives_the_same_output_without_the_secrets(
    secret: str, other: str, noise: list[bytes], borders: list[int]
) -> None:
    middle = len(noise) // 2
    data = b"".join([*noise[:middle], secret.encode(), *noise[middle:], other.encode()])
    whole = masked(data, secrets=(secret, other))
    assert masked(*cut(data, borders), secrets=(secret, other)) == whole
    for each in (secret, other):
        assert all(each.encode() not in part for part in whole.split(b"***"))
    assert b"***" in whole


@given(secret=st.text(min_size=4, max_size=40), borders=st.lists(st.integers(0, 500), max_size=8))
def test_any_secret_is_masked_in_any_chunking(secret: str, borders: list[int]) -> None:
    raw = secret.encode()
    for spelling in (raw, base64.b64encode(raw), quote(secret, safe="").encode()):
        shown = masked(*cut(b"\x01" + spelling + b"\x01", borders), secrets=(secret,))
        assert shown == b"\x01***\x01"


def test_a_stream_is_masked_at_a_cost_that_does_not_grow_with_what_is_held() -> None:
    masker = Masker(["x" * 50])
    for _ in range(2_000):
        masker.feed(b"x" * 49 + b"y")
        assert len(masker._kept) < 50
