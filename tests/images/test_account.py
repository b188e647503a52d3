"""The account's page: use, own API keys, a new password; and the first steps."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, User
from tests.images.conftest import Send, built, seated, text

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("uncollected")]
PASSWORD, NEW = "operates-everything", "quite-another-secret"


def made(client: Client, **values: str) -> str:
    form = {"label": "laptop", "grant": "work", "days": "90", "key_id": str(uuid4()), **values}
    return text(client.post("/account/keys", form))


def test_use_and_quota_are_told(mine: Client, owner: User, send: Send) -> None:
    built(send())
    User.objects.filter(pk=owner.pk).update(daily_build_limit=4)
    page = text(mine.get("/account"))
    assert "1 of 4 builds in the last 24 hours" in page
    assert '<meter min="0" max="4" value="1"' in page
    assert "1 image, 0." in page


def test_a_key_is_made_shown_once_and_revoked(mine: Client, owner: User) -> None:
    answer = mine.post(
        "/account/keys", {"label": "ci", "grant": "read", "days": "30", "key_id": uuid4()}
    )
    key = ApiKey.objects.get(user=owner)
    shown = text(answer)
    secret = shown.partition('<pre id="key" tabindex="0">')[2].partition("</pre>")[0]
    assert ApiKey.objects.named_by(secret) == key
    assert answer["Cache-Control"] == "private, no-store"
    assert key.scopes == ["images:read"]
    assert key.expires_at
    assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)
    again = text(mine.get("/account"))
    assert secret not in again
    assert key.short in again
    assert "The key is revoked" in text(mine.post(f"/account/keys/{key.pk}/revoke", follow=True))
    assert ApiKey.objects.named_by(secret) is None
    assert key.short not in text(mine.get("/account"))


def test_a_form_that_is_sent_twice_makes_one_key(mine: Client) -> None:
    identity = str(uuid4())
    assert "is made" in made(mine, key_id=identity)
    assert "This form was sent before" in made(mine, key_id=identity, label="other")
    assert "You have a key of that name" in made(mine)
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    "values",
    [{"label": ""}, {"label": "x" * 81}, {"grant": "root"}, {"days": "-1"}, {"key_id": "x"}],
)
def test_a_form_that_is_not_filled_in_right_makes_no_key(
    mine: Client, values: dict[str, str]
) -> None:
    assert "is made" not in made(mine, **values)
    assert not ApiKey.objects.exists()


def test_nobody_revokes_anothers_key(mine: Client, theirs: Client, owner: User) -> None:
    made(mine)
    key = ApiKey.objects.get(user=owner)
    assert key.short not in text(theirs.get("/account"))
    theirs.post(f"/account/keys/{key.pk}/revoke")
    assert ApiKey.objects.usable().filter(pk=key.pk).exists()


def test_a_new_password_needs_the_old_one_and_ends_other_sessions(operator: User) -> None:
    here, elsewhere = seated(operator), seated(operator)
    form = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    for values, words in (
        ({"old_password": "no"}, "old password was entered incorrectly"),
        ({"new_password2": "other"}, "match"),
        ({"new_password1": "123", "new_password2": "123"}, "too short"),
    ):
        answer = here.post("/account/password", {**form, **values})
        assert answer.status_code == 422
        assert words in text(answer)
    assert "Your password is changed" in text(here.post("/account/password", form, follow=True))
    operator.refresh_from_db()
    assert operator.check_password(NEW)
    assert here.get("/account").status_code == 200
    assert elsewhere.get("/account").status_code == 302


def test_the_old_password_cannot_be_guessed_in_a_session_that_was_left_open(
    operator: User,
) -> None:
    client = seated(operator)
    form = {"new_password1": NEW, "new_password2": NEW}
    for guess in range(30):
        client.post("/account/password", {**form, "old_password": f"guess-{guess}"})
    answer = client.post("/account/password", {**form, "old_password": PASSWORD})
    assert "Too many" in text(answer)
    operator.refresh_from_db()
    assert operator.check_password(PASSWORD)


@pytest.mark.parametrize(
    "path", ["keys", "keys/6b187dc6-ee90-474d-8ba8-4794e4b7e0b4/revoke", "password"]
)
def test_forms_after_the_session_ended_lead_to_sign_in(path: str) -> None:
    answer = Client().post(f"/account/{path}", follow=True)
    assert answer.redirect_chain == [("/sign-in?next=%2Faccount", 302)]
    assert "Nothing was changed" in text(answer)
    assert Client().get("/account")["Location"] == "/sign-in?next=/account"


def test_forms_need_their_token(owner: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    for path in ("keys", f"keys/{uuid4()}/revoke", "password"):
        assert client.post(f"/account/{path}").status_code == 403


def test_the_first_steps_have_the_readers_name_and_this_servers_address(mine: Client) -> None:
    page = text(mine.get("/start"))
    assert "curl -N http://testserver/images/" in page
    assert "username=owner" in page
    assert "base_url = http://testserver" in page
    assert "username=your-name" in text(Client().get("/start"))
