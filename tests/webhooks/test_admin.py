"""Webhooks in the admin: the instance's own are made there, users' are only stopped."""

import pytest
from django.test import Client

from accounts.models import User
from webhooks.events import note_test
from webhooks.models import Delivery, Webhook

pytestmark = pytest.mark.django_db
URL = "https://example.com/hooks"
LIST = "/admin/webhooks/webhook/"


def test_an_operator_makes_a_webhook_of_the_instance(desk: Client) -> None:
    answer = desk.post(f"{LIST}add/", {"url": URL, "events": "[]", "active": "on"})
    assert answer.status_code == 302
    hook = Webhook.objects.get()
    assert (hook.owner, hook.url) == (None, URL)
    assert hook.secret in desk.get(f"{LIST}{hook.pk}/change/").text


def test_a_private_address_is_refused_there_too(desk: Client) -> None:
    page = desk.post(f"{LIST}add/", {"url": "http://10.0.0.1/", "events": "[]"})
    assert "no address that webhooks are sent to" in page.text
    assert not Webhook.objects.exists()


def test_a_users_webhook_is_shown_without_its_secret_and_stopped(desk: Client, owner: User) -> None:
    hook = Webhook.objects.create(owner=owner, url=URL)
    delivery = note_test(hook)
    Delivery.objects.update(error="answered <b>500</b>")
    page = desk.get(f"{LIST}{hook.pk}/change/").text
    assert hook.secret not in page
    assert "answered &lt;b&gt;500&lt;/b&gt;" in page
    form = {
        "url": "https://evil.example/",
        "events": '["image_created"]',
        "deliveries-TOTAL_FORMS": "0",
        "deliveries-INITIAL_FORMS": "0",
    }
    assert desk.post(f"{LIST}{hook.pk}/change/", form).status_code == 302
    hook.refresh_from_db()
    assert (hook.url, hook.events, hook.active) == (URL, [], False)
    assert Delivery.objects.filter(pk=delivery.pk).exists()


def test_a_test_is_sent_from_the_list(desk: Client, owner: User) -> None:
    hook = Webhook.objects.create(owner=owner, url=URL)
    desk.post(LIST, {"action": "send_test", "_selected_action": [str(hook.pk)]})
    assert hook.deliveries.get().event == "test"


def test_who_is_no_operator_sees_none(owner: User) -> None:
    client = Client()
    client.force_login(owner)
    assert client.get(LIST).status_code == 302
