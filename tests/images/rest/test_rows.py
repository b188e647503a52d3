"""Plain rows say what the serializer says, and totals what a count would."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from rest_framework.renderers import JSONRenderer
from rest_framework.test import APIClient

from accounts.models import User
from api.media_types import JsonRenderer
from builds.models import Build
from builds.status import Status, state_word
from images.models import Image, ImageTally, Logo
from images.naming import image_id, reference_id
from images.rest import rows
from images.rest.serializers import AcceptedSerializer, ImageDetailSerializer, ImageSerializer
from tests.images.conftest import client_of


def made(owner: User, name: str, *, tag: str = "1", status: Status = Status.SUCCEEDED) -> Image:
    """An image with one attempt, and a good one before it."""
    identity = image_id(owner.username, name, tag)
    at = timezone.now() - timedelta(seconds=Image.objects.count())
    image = Image.objects.create(
        id=identity,
        reference_id=reference_id(owner.username, name, tag),
        owner=owner,
        name=name,
        tag=tag,
        created_at=at,
    )
    attempts = [
        Build.objects.create(
            image_id=identity,
            owner_id=owner.pk,
            label=str(image),
            number=number,
            dockerfile="FROM scratch",
            context_sha256="0" * 64,
            context_bytes=1,
            status=each,
            started_at=at if each is not Status.QUEUED else None,
            ended_at=at.replace(microsecond=0) if each is Status.SUCCEEDED else None,
            digest=f"sha256:{number}" if each is Status.SUCCEEDED else "",
            failure_text="exit 1" if each is Status.FAILED else "",
        )
        for number, each in enumerate([Status.SUCCEEDED, status], 1)
    ]
    image.good, image.current = attempts[0], attempts[1]
    image.good_bytes, image.good_ms = 1_234, 5_678
    image.state = state_word(status)
    image.save()
    return image


@pytest.fixture
def images(owner: User, stranger: User) -> list[Image]:
    found = [made(owner, f"app-{status}", status=status) for status in Status]
    found += [made(stranger, f"other-{n}") for n in range(3)]
    Image.objects.filter(pk=found[0].pk).update(
        readme="# ü \u2028", logo=Logo.objects.create(owner=owner), protected=True
    )
    Image.objects.filter(pk=found[1].pk).update(good=None)
    Image.objects.filter(name__in=["app-failed", "other-1"]).update(public=True)
    return found


def by_serializer(pk: UUID) -> Any:
    data = ImageSerializer(Image.objects.with_build().get(pk=pk)).data
    return json.loads(JsonRenderer().render(data)), json.loads(JSONRenderer().render(data))


@pytest.mark.django_db
def test_a_row_is_written_as_the_serializer_writes_it(images: list[Image], owner: User) -> None:
    for image in images:
        row = rows.find(str(image.pk), image.owner)
        assert row is not None
        body = rows.body(row)
        assert list(body) == list(ImageSerializer.Meta.fields)
        written = json.loads(JsonRenderer().render(body))
        assert [written, written] == [*by_serializer(image.pk)]


@pytest.mark.django_db
def test_a_single_image_is_written_as_its_serializer_writes_it(images: list[Image]) -> None:
    steps = {"step_list": [[1, "", 1, "FROM scratch"]], "step_times": [["cached", 1, 2]]}
    Build.objects.filter(number=2).update(**steps)
    for image in images:
        row = rows.find(str(image.pk), image.owner)
        assert row is not None
        read = Image.objects.with_build().get(pk=image.pk)
        expected = json.loads(JsonRenderer().render(ImageDetailSerializer(read).data))
        assert json.loads(JsonRenderer().render(rows.detail(row))) == expected
        assert expected["build"]["step_list"][0]["state"] == "cached"


@pytest.mark.django_db
def test_what_was_accepted_is_told_as_the_serializer_tells_it(images: list[Image]) -> None:
    for image in images:
        read = Image.objects.with_build().get(pk=image.pk)
        written = json.loads(JsonRenderer().render(rows.accepted(read)))
        assert written == json.loads(JsonRenderer().render(AcceptedSerializer(read).data))


@pytest.mark.django_db
def test_a_row_has_the_keys_of_the_schema(images: list[Image]) -> None:
    generator: Any = SchemaGenerator
    schema = generator().get_schema(request=None, public=True)["components"]["schemas"]
    row = rows.find(str(images[0].pk), images[0].owner)
    assert row is not None
    for told, name in ((rows.body(row), "Image"), (rows.detail(row), "ImageDetail")):
        assert set(told) == set(schema[name]["properties"])
    assert set(rows.detail(row)["build"]) == set(schema["DetailStanding"]["properties"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    "spelling",
    [
        lambda image: str(image.pk),
        lambda image: image.pk.hex.upper(),
        lambda image: str(image.reference_id),
        lambda image: f"{image.owner.username}/{image.name}:{image.tag}".upper(),
        lambda image: f"{image.name}:{image.tag}",
        lambda image: image.name,
        lambda image: f"{image.owner.username}/{image.name}",
        lambda image: f"nobody/{image.name}:1",
        lambda image: f"{image.name}:none",
        lambda _: str(uuid4()),
        lambda _: "%:%",
    ],
)
def test_a_text_means_the_same_image_however_it_is_looked_for(
    images: list[Image], owner: User, stranger: User, spelling: Callable[[Image], str]
) -> None:
    for image in images:
        for viewer in (owner, stranger):
            text = spelling(image)
            found = rows.find(text, viewer, tagless=True)
            expected = Image.objects.visible_to(viewer).meant_by(text, viewer, tagless=True)
            assert (found and found[0]) == (expected and expected.pk)


@pytest.mark.django_db
@pytest.mark.parametrize("size", [1, 2, 25])
def test_pages_have_what_the_querysets_have(
    images: list[Image], owner: User, stranger: User, size: int
) -> None:
    for user in (owner, stranger):
        for listed, expected in (
            (rows.own_page, Image.objects.owned_by(user)),
            (rows.visible_page, Image.objects.visible_to(user)),
        ):
            ids = list(expected.newest_first().values_list("pk", flat=True))
            for start in range(0, len(ids) + size, size):
                page = listed(user, start, size)
                assert [row[0] for row in page.rows] == ids[start : start + size]
                assert page.total == len(ids)


def counted(owner: User) -> tuple[int, int]:
    mine, seen = rows.OWN_TOTAL.rows(owner.pk), rows.VISIBLE_TOTAL.rows(owner.pk)
    return mine[0][0], seen[0][0]


def counts(owner: User) -> tuple[int, int]:
    return Image.objects.owned_by(owner).count(), Image.objects.visible_to(owner).count()


@pytest.mark.django_db
def test_totals_follow_every_change(images: list[Image], owner: User, stranger: User) -> None:
    changes: list[Callable[[], object]] = [
        lambda: made(owner, "one-more"),
        lambda: Image.objects.filter(owner=owner).update(public=True),
        lambda: Image.objects.filter(name__startswith="other").update(owner=owner),
        lambda: Image.objects.filter(owner=owner).update(public=False, readme="x"),
        images[0].delete,
        lambda: Image.objects.filter(name__startswith="app").delete(),
        lambda: Image.objects.all().delete(),
    ]
    for change in changes:
        change()
        for user in (owner, stranger):
            assert counted(user) == counts(user)


@pytest.mark.django_db
def test_what_is_rolled_back_is_not_counted(images: list[Image], owner: User) -> None:
    before = counted(owner)
    with transaction.atomic():
        made(owner, "rolled-back")
        assert counted(owner) != before
        transaction.set_rollback(True)
    assert counted(owner) == before == counts(owner)


@pytest.mark.django_db(transaction=True)
def test_emptied_tables_leave_no_totals(images: list[Image], owner: User) -> None:
    if connection.vendor == "sqlite":  # as a flush does, in an order that nobody chose
        ImageTally.objects.all().delete()
    Image.objects.all().delete()
    made(owner, "first-again")
    assert counted(owner) == counts(owner) == (1, 1)


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_totals_are_exact_whoever_changes_images_at_once(owner: User, stranger: User) -> None:
    wrong: list[Any] = []
    done = threading.Event()

    def change(owner: User, number: int) -> None:
        try:
            for n in range(30):
                image = made(owner, f"app-{number}-{n}")
                Image.objects.filter(pk=image.pk).update(public=n % 2 == 0)
                if n % 3 == 0:
                    Image.objects.filter(pk=image.pk).delete()
        finally:
            connection.close()

    def look() -> None:
        try:
            while not done.is_set():
                with transaction.atomic():
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    if counted(owner) != counts(owner):
                        wrong.append((counted(owner), counts(owner)))
        finally:
            connection.close()

    changing = [
        threading.Thread(target=change, args=(user, number))
        for number, user in enumerate((owner, owner, stranger, stranger))
    ]
    looking = threading.Thread(target=look)
    for each in (looking, *changing):
        each.start()
    for each in changing:
        each.join()
    done.set()
    looking.join()
    assert wrong == []
    assert counted(owner) == counts(owner)
    # Rows are put together as they come.
    assert ImageTally.objects.count() < 240


@pytest.mark.django_db
def test_a_list_is_answered_with_one_query_and_an_image_with_one(
    images: list[Image], owner: User, django_assert_num_queries: Any
) -> None:
    client: APIClient = client_of(owner)
    client.get("/images/")
    for path in ("/images/", f"/images/{images[1].pk}"):  # one that does not wait
        with django_assert_num_queries(2):  # and one for the key, which a transaction hides
            assert client.get(path).status_code == 200
