import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http_ranges import Unsatisfiable, asked_range, known

SIZES = st.integers(0, 50)
PLACES = st.integers(0, 60)


@given(size=SIZES, first=PLACES, last=PLACES)
def test_bytes_from_one_place_to_another_are_those(size: int, first: int, last: int) -> None:
    everything = list(range(size))
    if last < first:
        assert asked_range(f"bytes={first}-{last}", size) is None
    elif first >= size:
        with pytest.raises(Unsatisfiable):
            asked_range(f"bytes={first}-{last}", size)
    else:
        found = asked_range(f"bytes={first}-{last}", size)
        assert found is not None
        assert everything[slice(*found)] == everything[first : last + 1]


@given(size=SIZES, count=PLACES)
def test_the_last_bytes_are_counted_from_the_end(size: int, count: int) -> None:
    if not size or not count:
        with pytest.raises(Unsatisfiable):
            asked_range(f"bytes=-{count}", size)
    else:
        assert asked_range(f"bytes=-{count}", size) == (max(0, size - count), size)


@given(size=st.integers(1, 50), first=PLACES)
def test_the_rest_is_from_a_place_on(size: int, first: int) -> None:
    if first < size:
        assert asked_range(f"bytes={first}-", size) == (first, size)


@pytest.mark.parametrize(
    "header", ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=0-1,4-5", "lines=0-1", "0-1"]
)
def test_what_is_no_single_range_of_bytes_means_everything(header: str) -> None:
    assert asked_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        ("a", False),
    ],
)
def test_a_tag_is_known_when_it_is_named(header: str, expected: bool) -> None:
    assert known('"a"', header) is expected
