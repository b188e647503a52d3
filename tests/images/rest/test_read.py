from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts.models import User
from images.models import Image
from tests.images.conftest import Send, built, form

pytestmark = pytest.mark.django_db(transaction=True)

MISSING = {"detail": "Image not found, or does not belong to you", "code": "image_not_found"}


def names(answer: Any) -> list[str]:
    return [f"{item['name']}:{item['tag']}" for item in answer.json()["items"]]


def test_a_list_counts_pages_from_zero_newest_first(api: APIClient, send: Send) -> None:
    for tag in ("1", "2", "3"):
        send(tag=tag)
    answer = api.get("/images/", {"page": 0, "limit": 2})
    assert names(answer) == ["my-app:3", "my-app:2"]
    envelope = {key: value for key, value in answer.json().items() if key != "items"}
    assert envelope == {"total": 3, "page": 0, "limit": 2, "cord_refs": None}
    assert names(api.get("/images/", {"page": 1, "limit": 2})) == ["my-app:1"]
    past = api.get("/images/", {"page": 9, "limit": 2}).json()
    assert (past["items"], past["total"]) == ([], 3)


def test_images_made_at_the_same_moment_are_each_listed_once(api: APIClient, send: Send) -> None:
    for n in range(5):
        send(tag=f"t{n}")
    Image.objects.update(created_at=timezone.now() - timedelta(days=1))
    pages = [names(api.get("/images/", {"page": n, "limit": 1})) for n in range(5)]
    assert sorted(name for page in pages for name in page) == [f"my-app:t{n}" for n in range(5)]


def test_a_list_is_narrowed_by_parts_of_name_and_tag_taken_literally(
    api: APIClient, send: Send
) -> None:
    send(name="web-front", tag="1.0")
    send(name="web_back", tag="2.0")
    assert names(api.get("/images/", {"name": "WEB"})) == ["web_back:2.0", "web-front:1.0"]
    assert names(api.get("/images/", {"name": "b_b"})) == ["web_back:2.0"]
    assert names(api.get("/images/", {"name": "%"})) == []
    assert names(api.get("/images/", {"tag": "1."})) == ["web-front:1.0"]
    assert len(names(api.get("/images/", {"name": ""}))) == 2


def test_others_images_are_listed_when_public_and_asked_for(
    strangers_api: APIClient, send: Send
) -> None:
    send(name="open-app", public="true")
    send(name="secret-app")
    assert names(strangers_api.get("/images/")) == []
    assert names(strangers_api.get("/images/", {"include_public": "True"})) == ["open-app:1.0"]


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ({"page": "-1"}, "greater_than_equal"),
        ({"page": "x"}, "int_parsing"),
        ({"page": ""}, "int_parsing"),
        ({"limit": "101"}, "less_than_equal"),
        ({"limit": "²"}, "int_parsing"),
        ({"include_public": "perhaps"}, "bool_parsing"),
    ],
)
def test_a_list_refuses_what_it_cannot_read(
    api: APIClient, query: dict[str, str], kind: str
) -> None:
    answer = api.get("/images/", query)
    assert answer.status_code == 422
    [entry] = answer.json()["detail"]
    [field] = query
    assert (entry["loc"], entry["type"]) == (["query", field], kind)


def test_a_limit_of_zero_means_twenty_five(api: APIClient, send: Send) -> None:
    send()
    answer = api.get("/images/", {"limit": 0})
    assert (answer.json()["limit"], len(names(answer))) == (0, 1)


def test_a_list_takes_the_same_queries_for_one_image_and_for_many(
    api: APIClient, send: Send, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(8):
        send(tag=f"t{n}")
    api.get("/images/")
    for limit in (1, 8):
        with django_assert_num_queries(3):
            api.get("/images/", {"limit": limit})
    with django_assert_num_queries(1):
        assert api.get("/images/").json()["total"] == 8


def test_an_image_is_found_in_every_spelling(api: APIClient, send: Send, owner: User) -> None:
    image = built(send(name="Team/App", tag="V1"))
    for spelling in (
        str(image.pk),
        str(image.reference_id),
        image.pk.hex,
        "Team/App:V1",
        "team/app:v1",
        f"{owner.username}/team/app:V1",
        f"/{owner.username.upper()}/Team/App:V1",
        "team/app",
        f"{owner.username}/team/app",
    ):
        answer = api.get(f"/images/{spelling}")
        assert answer.status_code == 200, spelling
        assert answer.json()["image_id"] == str(image.pk)
        assert answer.json()["status"] == "built and pushed"


def test_a_name_without_a_tag_means_the_newest(api: APIClient, send: Send) -> None:
    send(tag="old")
    send(tag="new")
    assert api.get("/images/my-app").json()["tag"] == "new"


def test_missing_and_forbidden_look_alike(
    strangers_api: APIClient, send: Send, owner: User
) -> None:
    image_id = send().json()["image_id"]
    for ref in (
        image_id,
        f"{owner.username}/my-app:1.0",
        "my-app:1.0",
        "nothing",
        "a:b:c",
        "x" * 36,
    ):
        for path in (f"/images/{ref}", f"/images/{ref}/logs"):
            answer = strangers_api.get(path)
            assert (answer.status_code, answer.json()) == (404, MISSING), path


def test_a_public_image_is_seen_by_others(
    strangers_api: APIClient, send: Send, owner: User
) -> None:
    send(public="true")
    assert strangers_api.get(f"/images/{owner.username}/my-app:1.0").status_code == 200
    assert strangers_api.get("/images/my-app:1.0").status_code == 404


def test_ones_own_name_is_tried_before_somebody_elses(
    strangers_api: APIClient, send: Send, owner: User, stranger: User
) -> None:
    send(name="app", public="true")
    sent = strangers_api.post(
        "/images/",
        form(stranger.username, name=f"{owner.username}/app"),
        format="multipart",
    )
    found = strangers_api.get(f"/images/{owner.username}/app:1.0").json()
    assert found["image_id"] == sent.json()["image_id"]


def test_reading_without_credentials_is_refused(send: Send) -> None:
    send(public="true")
    for path in ("/images/", "/images/my-app:1.0"):
        answer = APIClient().get(path)
        assert answer.status_code == 401
        assert answer.json()["detail"] == "Can't find a user with that api key in our db :("


def test_the_address_without_its_slash_redirects_keeping_the_method() -> None:
    answer = APIClient().post("/images")
    assert (answer.status_code, answer.headers["Location"]) == (307, "/images/")


def test_unknown_paths_and_wrong_methods_answer_as_json(api: APIClient) -> None:
    answer = api.get("/nothing/here")
    assert (answer.status_code, answer.json()["detail"]) == (404, "Not Found")
    answer = api.put("/images/", {})
    assert (answer.status_code, answer.json()["detail"]) == (405, "Method Not Allowed")
    assert "GET" in answer.headers["Allow"]


def test_a_wrong_parameter_is_told_in_a_sentence(api: APIClient) -> None:
    answer = api.get("/images/?limit=many&status=gone")
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid"
    limit, status = answer.json()["detail"]
    assert limit["msg"] == ("Input should be a valid integer, unable to parse string as an integer")
    assert status["msg"].startswith("Input should be 'queued', ")


def test_the_address_without_its_slash_leads_to_the_one_with_it_for_any_method() -> None:
    client = Client(enforce_csrf_checks=True)
    for method in ("GET", "POST", "PATCH", "DELETE"):
        answer = client.generic(method, "/images")
        assert (answer.status_code, answer["Location"]) == (307, "/images/")


def test_a_change_by_a_bare_name_says_to_add_the_tag(send: Send, api: APIClient) -> None:
    send()
    asked = [
        api.delete("/images/my-app"),
        api.delete("/images/unknown"),
        api.patch("/images/my-app", {}, format="json"),
        api.post("/images/my-app/cancel"),
        api.post("/images/owner/my-app/rebuild"),
    ]
    for answer in asked:
        assert (answer.status_code, answer.json()["code"]) == (404, "tag_missing")
    assert asked[0].json()["detail"] == "Image not found: add a tag, as in my-app:TAG"
    assert api.delete("/images/unknown:1").json() == MISSING
