import io
import struct
import zlib
from datetime import timedelta
from typing import Any
from uuid import uuid4

import PIL.Image
import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from images import logos
from images.models import Image, Logo
from tests.images.conftest import Send

pytestmark = pytest.mark.django_db(transaction=True)


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 20), **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", size, (200, 30, 30)).save(file, kind, **options)
    return file.getvalue()


def upload(client: APIClient, content: bytes, name: str = "logo.png") -> Any:
    return client.post("/logos/", {"logo": SimpleUploadedFile(name, content)}, format="multipart")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_becomes_a_small_webp_that_anybody_gets(api: APIClient, kind: str) -> None:
    made = upload(api, picture(kind, (1024, 256)))
    assert made.status_code == 200
    answer = APIClient().get(f"/logos/{made.json()['logo_id']}.webp")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/webp"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in answer.headers["Cache-Control"]
    shown = PIL.Image.open(io.BytesIO(answer.content))
    assert (shown.format, shown.size) == ("WEBP", (512, 128))


def test_nothing_else_of_the_file_is_kept(api: APIClient) -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = "where I live"
    exif[0x0112] = 6  # lies on its side
    made = upload(api, picture("JPEG", exif=exif) + b"<script>")
    content = APIClient().get(f"/logos/{made.json()['logo_id']}.webp").content
    assert b"where I live" not in content
    assert b"<script>" not in content
    assert PIL.Image.open(io.BytesIO(content)).size == (20, 40)


def bomb(width: int, height: int) -> bytes:
    """A small PNG that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        picture()[:60],
        bomb(5000, 5000),
        bomb(2_000_000_000, 2_000_000_000),
        picture("BMP"),
        picture("TIFF"),
    ],
    ids=["empty", "text", "svg", "cut", "bomb", "overflow", "bmp", "tiff"],
)
def test_what_is_no_picture_of_the_known_kinds_is_refused(api: APIClient, content: bytes) -> None:
    answer = upload(api, content)
    assert answer.status_code == 422
    [entry] = answer.json()["detail"]
    assert entry["loc"] == ["body", "logo"]
    assert not Logo.objects.exists()


def test_a_file_that_is_too_large_is_refused(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture()
    monkeypatch.setattr(logos, "BYTES", len(content) - 1)
    answer = upload(api, content)
    assert answer.status_code == 413
    assert "bytes" in answer.json()["detail"]
    assert not Logo.objects.exists()


def test_a_form_without_a_logo_is_refused(api: APIClient) -> None:
    for form in ({}, {"logo": "text"}, {"picture": SimpleUploadedFile("a", b"a")}):
        answer = api.post("/logos/", form, format="multipart")
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "logo"]


def test_there_is_an_end_to_sending_logos(
    api: APIClient, strangers_api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logos, "MOST", 2)
    assert [upload(api, picture()).status_code for _ in range(3)] == [200, 200, 429]
    assert upload(strangers_api, picture()).status_code == 200


def test_sending_a_logo_needs_credentials_that_may_write(owner: User) -> None:
    assert upload(APIClient(), picture()).status_code == 401
    reader = APIClient()
    reader.credentials(HTTP_AUTHORIZATION=ApiKey.objects.issue(owner, scopes=["images:read"])[1])
    assert upload(reader, picture()).status_code == 401
    assert not Logo.objects.exists()


def test_an_unknown_logo_is_not_found() -> None:
    for path in (f"/logos/{uuid4()}.webp", "/logos/x.webp", f"/logos/{uuid4()}.png"):
        answer = APIClient().get(path)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/json"


def test_an_image_shows_its_logo(api: APIClient, send: Send, settings: Any) -> None:
    settings.PUBLIC_URL = "https://slipway.example"
    logo_id = upload(api, picture()).json()["logo_id"]
    image = send(logo_id=logo_id).json()
    assert image["logo_id"] == logo_id
    assert image["logo"] == f"https://slipway.example/logos/{logo_id}.webp"
    assert image["user"]["logo"] is None
    without = send(tag="2").json()
    assert (without["logo_id"], without["logo"]) == (None, None)


@pytest.mark.parametrize("logo_id", ["none", "0", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"])
def test_an_image_with_a_logo_that_is_not_there_is_refused(send: Send, logo_id: str) -> None:
    answer = send(logo_id=logo_id)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "logo_id"]
    assert not Image.objects.exists()


def test_a_logo_is_for_the_images_of_whoever_sent_it(send: Send, strangers_api: APIClient) -> None:
    logo_id = upload(strangers_api, picture()).json()["logo_id"]
    assert send(logo_id=logo_id).status_code == 422


def test_a_logo_that_was_refused_leaves_no_file(api: APIClient) -> None:
    before = default_storage.listdir("logos")[1] if default_storage.exists("logos") else []
    upload(api, b"no picture")
    after = default_storage.listdir("logos")[1] if default_storage.exists("logos") else []
    assert before == after


def test_a_logo_that_no_image_shows_goes_after_a_week(
    api: APIClient, send: Send, owner: User
) -> None:
    used, old, new = (upload(api, picture()).json()["logo_id"] for _ in range(3))
    send(logo_id=used)
    Logo.objects.exclude(pk=new).update(created_at=timezone.now() - timedelta(days=8))
    logos.drop_unused()
    assert {str(logo.pk) for logo in Logo.objects.all()} == {used, new}
    assert default_storage.exists(f"logos/{used}.webp")
    stored = {f"logos/{each}.webp" for each in (used, old, "nonsense")}
    assert logos.named(stored) == {f"logos/{used}.webp"}


def test_a_logo_has_a_path_that_leads_to_it(api: APIClient) -> None:
    told = upload(api, picture()).json()
    answer = APIClient().get(told["path"])
    assert told["path"] == f"/logos/{told['logo_id']}.png"
    assert (answer.status_code, answer.headers["Location"]) == (
        302,
        f"/logos/{told['logo_id']}.webp",
    )
