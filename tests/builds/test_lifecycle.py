"""What is asked of builds reaches the queue when it can be found there, and only then."""

from typing import Any

import pytest
from django.db import transaction

from builds.models import Build
from tests.conftest import Order

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_build_is_sent_only_when_others_can_see_it(order: Order, sent: list[Any]) -> None:
    with transaction.atomic():
        build = order("echo hello")
        assert sent == []
    assert sent == [build.pk]


def test_what_is_rolled_back_is_never_sent(order: Order, sent: list[Any]) -> None:
    with transaction.atomic():
        order("echo hello")
        transaction.set_rollback(True)
    assert not Build.objects.exists()
    assert sent == []
