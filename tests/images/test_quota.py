"""What counts as one build of the daily limit."""

from dataclasses import replace
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from builds import runner
from builds.completion import settle_failed
from builds.conf import BuildSettings
from builds.failures import INTERRUPTED
from builds.models import Build
from builds.status import Status
from images import catalog
from tests.conftest import zipped
from tests.images.conftest import Send, built

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_attempt_counts_once_whatever_becomes_of_it(
    send: Send, api: APIClient, deployment: BuildSettings, settings: Any
) -> None:
    settings.BUILDS = replace(deployment, daily_builds=3)
    assert built(send(tag="good")).build.state is Status.SUCCEEDED
    assert built(send(tag="bad", dockerfile="FROM scratch\nRUN scripted: exit 1\n"))
    # Lost by us and made again by us: one attempt of theirs.
    interrupted = Build.objects.get(image_id=send(tag="lost").json()["image_id"])
    Build.objects.filter(pk=interrupted.pk).move(Status.BUILDING)
    successor = settle_failed(interrupted.pk, fence=None, to=Status.LOST, failure=INTERRUPTED)
    assert successor
    runner.run(successor.pk)
    assert api.delete("/images/my-app:good").status_code == 200
    assert Build.objects.count() == 4
    answer = send(tag="fourth")
    assert answer.status_code == 429
    assert "3 builds per 24 hours" in answer.json()["detail"]


def test_an_order_that_is_refused_costs_nothing(
    send: Send, deployment: BuildSettings, settings: Any
) -> None:
    settings.BUILDS = replace(deployment, daily_builds=2)
    assert send().status_code == 202
    assert send().status_code == 409
    assert send(tag="not a tag").status_code == 422
    assert send(tag="second").status_code == 202


def test_an_order_of_a_new_image_takes_few_statements(
    send: Send, owner: User, deployment: BuildSettings
) -> None:
    for n in range(2):  # the first compiles
        wanted = catalog.Wanted(name="my-app", tag=f"{n}", dockerfile="FROM scratch")
        context = ContentFile(zipped(a_txt="a"))
        with CaptureQueriesContext(connection) as statements:
            catalog.order(owner=owner, wanted=wanted, context=context)
    told = [each["sql"].split()[0] for each in statements]
    assert told.count("SELECT") == 2, told  # with that of webhooks
    assert len([word for word in told if word in {"INSERT", "WITH"}]) == (
        1 if connection.vendor == "postgresql" else 2
    )
    assert not {"UPDATE", "DELETE"} & {*told}


def test_numbers_go_on_where_an_image_was_deleted(send: Send, api: APIClient) -> None:
    assert send().json()["build"]["number"] == 1
    assert api.delete("/images/my-app:1.0").status_code == 200
    assert send().json()["build"]["number"] == 2
