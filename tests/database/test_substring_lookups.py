"""Parts of texts are found whatever finds them: an index, or reading all."""

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts.models import User
from database.substring_lookups import part
from images.models import Image
from images.naming import image_id

NAMES = ["payments-api", "Pay_ments.x", "a-b-c", "zq0zq", "base/model--1", "q%z"]
LETTERS = st.text(st.sampled_from("aAbpPyYzZqQ0-_./%\\'\" é"), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("pay", "icontains"),
        ("-pay-", "icontains"),
        ("v3.11", "icontains"),
        ("v1.", "icontains"),
        (".1.", "holds"),
        ("pa", "holds"),
        ("a-b", "holds"),
        ("a_b", "holds"),
        ("%", "holds"),
    ],
)
def test_an_index_is_asked_where_it_has_trigrams_of_the_text(text: str, how: str) -> None:
    assert part("name", text) == {f"name__{how}": text}


class TestParts(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        owner = User.objects.create_user("owner")
        for name in NAMES:
            Image.objects.create(
                id=image_id("owner", name, "1"),
                reference_id=uuid4(),
                owner=owner,
                name=name,
                tag="1",
            )

    @given(text=LETTERS)
    @example(text="\\")
    @example(text="%%")
    @example(text="PAY")
    def test_what_is_found_holds_the_text(self, text: str) -> None:
        expected: Any = {name for name in NAMES if text.lower() in name.lower()}
        for condition in (part("name", text), {"name__holds": text}):
            found = Image.objects.filter(**condition).values_list("name", flat=True)
            assert set(found) == expected, condition
