"""Lists and images are not sent twice, and long answers come compressed."""

import gzip
import json
from email.utils import parsedate_to_datetime

import pytest
from rest_framework.test import APIClient

from tests.images.conftest import Send

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_answer_is_known_by_its_tag_until_it_changes(api: APIClient, send: Send) -> None:
    send()
    for path in ("/images/", "/images/my-app:1.0/builds", "/users/me"):
        first = api.get(path)
        assert first["ETag"]
        assert first["Cache-Control"] == "private, no-cache"
        again = api.get(path, HTTP_IF_NONE_MATCH=first["ETag"])
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    tag = api.get("/images/")["ETag"]
    send(name="other-app")
    assert api.get("/images/", HTTP_IF_NONE_MATCH=tag).status_code == 200


def test_a_long_answer_is_compressed_for_those_who_take_it(api: APIClient, send: Send) -> None:
    for tag in ("1", "2", "3"):
        send(tag=tag)
    plain = api.get("/images/")
    assert "Content-Encoding" not in plain.headers
    assert "Accept-Encoding" in plain["Vary"]
    for accepted in ("gzip", "br, gzip;q=0.5", "GZIP"):
        packed = api.get("/images/", HTTP_ACCEPT_ENCODING=accepted)
        assert packed["Content-Encoding"] == "gzip"
        assert int(packed["Content-Length"]) == len(packed.content)
        assert json.loads(gzip.decompress(packed.content)) == plain.json()
    for refused in ("br", "gzip;q=0", "identity"):
        answer = api.get("/images/", HTTP_ACCEPT_ENCODING=refused)
        assert "Content-Encoding" not in answer.headers
    tag = packed["ETag"]
    assert api.get("/images/", HTTP_IF_NONE_MATCH=tag).status_code == 304


def test_secrets_streams_and_refusals_stay_as_they_are(api: APIClient, send: Send) -> None:
    send(public="true")
    body = {"name": "laptop" * 12, "admin": True}
    made = api.post("/api_keys/", body, format="json", HTTP_ACCEPT_ENCODING="gzip")
    assert (made.status_code, "Content-Encoding" in made.headers) == (200, False)
    log = api.get("/images/my-app:1.0/logs/events", HTTP_ACCEPT_ENCODING="gzip")
    assert "Content-Encoding" not in log.headers
    log.close()
    missing = api.get("/images/none:1")
    assert (missing.status_code, "ETag" in missing.headers) == (404, False)


def test_every_answer_says_when_it_was_made(api: APIClient) -> None:
    for path in ("/images/", "/nothing", "/healthz"):
        assert parsedate_to_datetime(api.get(path)["Date"]).tzinfo is not None
