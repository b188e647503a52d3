"""What is taken as a name can be pushed; what cannot be pushed is never taken."""

from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from builds.conf import BuildSettings
from builds.registry import make_registry
from images import naming
from images.models import Image
from tests.builds.registry.test_registry import make_layout
from tests.images.conftest import Send

SHARED = HealthCheck.function_scoped_fixture
LETTERS = st.text(alphabet="abzAZ09._-/", min_size=1, max_size=12)
PARTS = st.from_regex(r"\A[a-zA-Z0-9]{1,8}((\.|_|__|-{1,3})[a-zA-Z0-9]{1,4}){0,3}\Z")
NAMES = LETTERS | st.lists(PARTS, min_size=1, max_size=3).map("/".join) | st.text(max_size=8)
TAGS = st.from_regex(r"\A[A-Za-z0-9_.-]{1,128}\Z") | st.text(max_size=8)


def taken(name: str, tag: str) -> bool:
    try:
        naming.check_name(name)
        naming.check_tag(tag)
    except naming.BadName:
        return False
    return True


def push_and_look(deployment: BuildSettings, layout: Path, name: str, tag: str) -> None:
    registry = make_registry(deployment)
    repository = f"owner-{uuid4().hex[:8]}/{name}".lower()
    for _ in registry.push(layout, repository=repository, tag=tag):
        pass
    assert registry.digest_of(repository, tag)


@example(name="a" * 65, tag="Z" * 128)
@example(name="A-_not.a_name", tag="1")
@example(name="T.e__a---m/x/9", tag="_not")
@example(name="Team/App", tag="V1._-")
@given(name=NAMES, tag=TAGS)
@settings(max_examples=40, deadline=None, suppress_health_check=[SHARED])
def test_every_name_that_is_taken_can_be_pushed(
    deployment: BuildSettings, tmp_path: Path, name: str, tag: str
) -> None:
    if taken(name, tag):
        layout = tmp_path / "layout"
        if not layout.exists():
            make_layout(layout)
        push_and_look(deployment, layout, name, tag)


@pytest.mark.long
@given(name=st.lists(PARTS, min_size=1, max_size=3).map("/".join), tag=TAGS)
@settings(max_examples=1000, deadline=None, suppress_health_check=[SHARED])
def test_a_thousand_names_that_are_taken_can_be_pushed(
    deployment: BuildSettings, tmp_path: Path, name: str, tag: str
) -> None:
    if taken(name, tag):
        layout = tmp_path / "layout"
        if not layout.exists():
            make_layout(layout)
        push_and_look(deployment, layout, name, tag)


@pytest.mark.django_db(transaction=True)
@example(name="\N{KELVIN SIGN}elvin", tag="1")
@example(name="app\n", tag="1")
@example(name="app\0", tag="1")
@example(name="team/Logs", tag="1")
@example(name="app", tag="1\n")
@example(name="a..b", tag="1")
@given(name=NAMES, tag=TAGS)
@settings(max_examples=60, deadline=None, suppress_health_check=[SHARED])
def test_a_name_or_tag_that_is_not_taken_is_a_422_and_leaves_nothing(
    send: Send, name: str, tag: str
) -> None:
    if not taken(name, tag):
        answer = send(name=name, tag=tag)
        assert answer.status_code == 422
        assert {entry["loc"][1] for entry in answer.json()["detail"]} <= {"name", "tag"}
        assert not Image.objects.exists()


@given(name=NAMES, tag=TAGS)
def test_what_is_taken_is_among_its_own_readings(name: str, tag: str) -> None:
    if taken(name, tag):
        _, references = naming.readings(f"{name}:{tag}")
        assert naming.Reference(owner=None, name=name, tag=tag) in references
        _, references = naming.readings(f"owner/{name}:{tag}")
        assert naming.Reference(owner="owner", name=name, tag=tag) in references


@given(text=st.text() | st.text(alphabet="ab/:\0"))
def test_a_reading_is_always_of_something_that_could_exist(text: str) -> None:
    _, references = naming.readings(text)
    for each in references:
        assert "\0" not in f"{each.owner}{each.name}{each.tag}"
        assert each.name.isascii()
