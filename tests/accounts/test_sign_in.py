"""Signing in with a password: on the pages, in the admin, and how often one may be wrong."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, SignInAttempt, TooManyAttempts, User
from accounts.models.sign_in_attempts import BY_ADDRESS, BY_NAME, WINDOW

pytestmark = pytest.mark.django_db
PASSWORD = "operates-everything"
DOORS = ("/sign-in", "/admin/login/")


def attempt(door: str, password: str = "guess", name: str = "operator", **headers: Any) -> Any:
    client = Client(REMOTE_ADDR=headers.pop("address", "192.0.2.1"), headers=headers)
    answer = client.post(door, {"username": name, "password": password})
    answer.signed_in = SESSION_KEY in client.session
    return answer


@pytest.fixture(autouse=True)
def files(uncollected: None, operator: User) -> None:
    pass


def later(wait: timedelta) -> None:
    """That much time passes."""
    for each in SignInAttempt.objects.all():
        SignInAttempt.objects.filter(pk=each.pk).update(at=each.at - wait)


@pytest.mark.parametrize("door", DOORS)
def test_after_too_many_guesses_not_even_the_password_is_taken(door: str) -> None:
    for _ in range(BY_NAME):
        said = attempt(door).content.decode()
        assert "Wrong name or password" in said or "correct username and password" in said
    answer = attempt(door, PASSWORD)
    assert "Too many wrong passwords: try again in 5 minutes." in answer.content.decode()
    assert not answer.signed_in


def test_both_doors_count_together_and_names_in_any_case() -> None:
    for number in range(BY_NAME):
        attempt(DOORS[number % 2], name=("operator", "Operator")[number % 2])
    for door in DOORS:
        assert "Too many" in attempt(door, PASSWORD).content.decode()


def test_the_wait_ends_and_guesses_refused_do_not_prolong_it() -> None:
    for _ in range(BY_NAME):
        attempt("/sign-in")
    later(WINDOW - timedelta(seconds=90))
    for _ in range(3):
        assert "try again in 2 minutes" in attempt("/sign-in").content.decode()
    later(timedelta(seconds=90))
    assert attempt("/sign-in", PASSWORD).signed_in


def test_nobody_keeps_somebody_else_out_from_elsewhere() -> None:
    for _ in range(BY_NAME):
        attempt("/sign-in")
    assert not attempt("/sign-in", PASSWORD).signed_in
    assert attempt("/sign-in", PASSWORD, address="192.0.2.2").signed_in


def test_an_address_does_not_guess_on_under_other_names(operator: User) -> None:
    for number in range(BY_ADDRESS):
        SignInAttempt.objects.create(name=f"name-{number}", address="192.0.2.1")
    assert "Too many" in attempt("/sign-in", PASSWORD).content.decode()
    assert attempt("/sign-in", PASSWORD, address="192.0.2.2").signed_in


def test_the_right_password_forgives_what_was_wrong_before() -> None:
    for _ in range(2):
        for _ in range(BY_NAME - 1):
            attempt("/sign-in")
        assert attempt("/sign-in", PASSWORD).signed_in
    assert not SignInAttempt.objects.exists()


def test_a_name_longer_than_any_is_counted_like_others() -> None:
    for _ in range(BY_NAME):
        assert "Wrong name or password" in attempt("/sign-in", name="İ" * 300).content.decode()
    assert "Too many" in attempt("/sign-in", name="İ" * 300).content.decode()


def test_what_holds_no_guess_is_not_counted() -> None:
    assert "are needed" in attempt("/sign-in", password="").content.decode()
    assert not SignInAttempt.objects.exists()


def test_attempts_at_the_same_time_are_no_way_around() -> None:
    """Whoever came between the look and the storing is seen by the second look."""
    attempts = SignInAttempt.objects.all()
    for _ in range(BY_NAME - 1):
        SignInAttempt.objects.begin(name="operator", address="192.0.2.1")
    check = attempts._check
    looks: list[int] = []

    def overtaken(name: str, address: str, *, room: int) -> None:
        check(name, address, room=room)
        if not looks:
            SignInAttempt.objects.create(name=name, address=address)
        looks.append(room)

    attempts._check = overtaken  # type: ignore[method-assign]
    with pytest.raises(TooManyAttempts):
        attempts.begin(name="operator", address="192.0.2.1")
    assert looks == [1]
    assert SignInAttempt.objects.count() == BY_NAME


def test_attempts_that_count_no_longer_are_forgotten() -> None:
    SignInAttempt.objects.create(name="a", address="b", at=timezone.now() - WINDOW)
    kept = SignInAttempt.objects.create(name="a", address="b")
    assert SignInAttempt.objects.all().prune() == 1
    assert SignInAttempt.objects.get() == kept


@pytest.mark.parametrize(
    ("trusted", "peer", "told", "counted"),
    [
        (False, "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        (True, "192.0.2.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (True, "192.0.2.1", "", "192.0.2.1"),
        (True, "192.0.2.1", "nonsense", ""),
        (False, "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        (False, "::ffff:192.0.2.1", "", "192.0.2.1"),
    ],
)
def test_the_address_is_the_peers_or_what_a_trusted_front_saw(
    settings: Any, trusted: bool, peer: str, told: str, counted: str
) -> None:
    settings.TRUSTED_PROXY = trusted
    attempt("/sign-in", address=peer, **({"X-Forwarded-For": told} if told else {}))
    assert SignInAttempt.objects.get().address == counted


def test_who_is_no_longer_active_is_out_at_once(owner: User) -> None:
    text = ApiKey.objects.issue(owner)[1]
    session, program = Client(), Client(headers={"Authorization": text})
    session.force_login(owner)
    assert session.get("/users/me").status_code == program.get("/users/me").status_code == 200
    User.objects.filter(pk=owner.pk).update(is_active=False)
    assert session.get("/users/me").status_code == program.get("/users/me").status_code == 401
