"""The tabs of an image's page: steps on a time axis, attempts with reasons, what was built from."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import PIL.Image
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from builds import runner
from builds.completion import settle_failed
from builds.failures import BUILDER_LOST
from builds.logs.lines import since_1970
from builds.models import Build
from builds.status import Status
from images.models import Image
from images.pages.attempts import why
from images.pages.step_times import step_times
from tests.conftest import stand
from tests.images.conftest import Send, built, seated, text
from webserver.body_limits import limit_of

pytestmark = pytest.mark.usefixtures("uncollected")
START = datetime(2026, 1, 1, tzinfo=UTC)
Spans = list[tuple[str, str, str, float | None, float | None]]


def attempt(spans: Spans, *, ended: float | None = None, number: int = 1) -> Build:
    """Steps as (stage, text, state, begin, end), in seconds after the start."""

    def micros(seconds: float | None) -> int | None:
        return None if seconds is None else since_1970(START + timedelta(seconds=seconds))

    return Build(
        number=number,
        status=Status.SUCCEEDED if ended else Status.BUILDING,
        started_at=START,
        ended_at=START + timedelta(seconds=ended) if ended else None,
        step_list=[[at, stage, at, words] for at, (stage, words, *_) in enumerate(spans, 1)],
        step_times=[[state, micros(begin), micros(end)] for *_, state, begin, end in spans],
    )


SIDE_BY_SIDE: Spans = [
    ("build", "FROM a", "succeeded", 1, 1),
    ("build", "RUN make", "succeeded", 1, 9),
    ("docs", "RUN docs", "succeeded", 1, 4),
    ("docs", "RUN more", "succeeded", 4, 5),
    ("last", "COPY --from=build", "succeeded", 9, 10),
]


def rows(found: Any) -> dict[str, Any]:
    return {row.text: row for _, own in found.stages for row in own}


def test_the_steps_that_a_build_waited_for_are_marked_and_the_slowest_named() -> None:
    found = step_times(attempt(SIDE_BY_SIDE, ended=12), None)
    critical = [words for words, row in rows(found).items() if row.critical]
    assert critical == ["RUN make", "COPY --from=build"]
    assert found.slowest is rows(found)["RUN make"]
    assert [stage for stage, _ in found.stages] == ["build", "docs", "last"]
    bar = rows(found)["RUN make"].bar
    assert (bar.x, bar.size) == ("8.33%", "66.67%")
    assert (found.total, found.prepared_seconds, found.cached) == (12, 1, 0)


def test_steps_are_compared_with_those_of_the_last_good_attempt() -> None:
    before = attempt(
        [
            ("build", "RUN make", "succeeded", 0, 3),
            ("build", "RUN same", "cached", 3, 3),
            ("build", "RUN same", "succeeded", 3, 4),
        ],
        ended=5,
    )
    now = attempt(
        [
            ("build", "RUN make", "succeeded", 0, 8),
            ("build", "RUN same", "succeeded", 8, 9),
            ("build", "RUN same", "succeeded", 9, 10.5),
            ("other", "RUN same", "succeeded", 9, 12),
        ],
        ended=12,
        number=2,
    )
    found = step_times(now, before)
    own = [row for _, each in found.stages for row in each]
    assert [row.difference for row in own] == [5, None, None, None]
    assert [row.cached_before for row in own] == [False, True, False, False]
    assert found.difference == 7


def test_a_build_without_steps_or_times_has_no_axis() -> None:
    for build in (attempt([]), attempt([("", "FROM a", "waiting", None, None)]), Build(number=1)):
        found = step_times(build, None)
        assert (found.slowest, found.cached) == (None, 0)
        assert all(row.bar is None for _, own in found.stages for row in own)


def test_many_steps_that_overlap_cost_little_and_fit_the_axis() -> None:
    spans: Spans = [("s", f"RUN {at}", "succeeded", at % 7, 50 - at % 5) for at in range(1_000)]
    for _, own in step_times(attempt(spans, ended=50), None).stages:
        for row in own:
            assert row.bar
            assert row.bar.left + row.bar.width <= 100.01


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"status": "queued"}, "Waits in the queue"),
        ({"status": "building"}, "Builds"),
        ({"status": "succeeded"}, "Built and pushed"),
        ({"status": "cancelled", "failure_text": "cancelled"}, "Cancelled"),
        ({"status": "failed", "failure_fault": "user", "failure_text": "no"}, "No"),
        (
            {"status": "failed", "failure_fault": "service", "failure_text": "no"},
            "Slipway's side: no",
        ),
        ({"status": "lost", "failure_text": "it died."}, "It died. Attempt 4 took its place"),
    ],
)
def test_every_attempt_says_why_it_ended(values: dict[str, str], words: str) -> None:
    assert why(Build(number=3, **values)) == words


@pytest.mark.django_db(transaction=True)
def test_steps_and_attempts_are_shown_to_all_readers(
    mine: Client,
    theirs: Client,
    send: Send,
) -> None:
    image = built(send(public="true"))
    mine.post(f"/i/{image.pk}/rebuild")
    build = Build.objects.get(image_id=image.pk, number=2)
    stand(Build.objects.filter(pk=build.pk), "building", started_at=build.queued_at, fence=1)
    settle_failed(build.pk, fence=None, to=Status.LOST, failure=BUILDER_LOST)
    runner.run(Build.objects.get(image_id=image.pk, number=3).pk)
    for client in (mine, theirs):
        steps = text(client.get(f"/i/{image.pk}?tab=steps"))
        assert "RUN scripted: echo hello" in steps
        assert '<a href="?tab=steps&amp;attempt=1">attempt 1</a>' in steps
        assert 'style="' not in steps
        listed = text(client.get(f"/i/{image.pk}?tab=attempts"))
        assert "Attempt 3 took its place" in listed
        assert listed.count("Built and pushed") == 2
        order = text(client.get(f"/i/{image.pk}?tab=attempts&sort=number"))
        assert order.index("attempt=2") < order.index("attempt=3")


@pytest.mark.django_db(transaction=True)
def test_what_an_attempt_was_built_from_is_shown_to_its_owner_and_operators_alone(
    mine: Client,
    theirs: Client,
    operator: User,
    send: Send,
) -> None:
    dockerfile = "FROM scratch\nARG KEY\n# a secret remark <b>\n"
    image = built(send(public="true", dockerfile=dockerfile, build_args='{"KEY": "hunter2"}'))
    for client in (mine, seated(operator)):
        page = text(client.get(f"/i/{image.pk}?tab=inputs"))
        assert "a secret remark &lt;b&gt;" in page
        assert "hunter2" in page
    for client in (theirs, Client()):
        for tab in ("inputs", "steps", "attempts", "log", "nonsense"):
            page = text(client.get(f"/i/{image.pk}?tab={tab}"))
            assert "hunter2" not in page
            assert "secret remark" not in page
            assert "tab=inputs" not in page


@pytest.mark.django_db(transaction=True)
def test_links_to_lines_of_a_lost_attempts_successor_lead_there_in_the_admin(
    operator: User,
    mine: Client,
    stranger: User,
    send: Send,
) -> None:
    image = built(send())
    mine.post(f"/i/{image.pk}/rebuild")
    first, second = Build.objects.filter(image_id=image.pk).order_by("number")
    admin = seated(operator)
    page = f"/admin/builds/build/{first.pk}/change/"
    assert admin.get(f"{page}?attempt=1").status_code == 200
    answer = admin.get(f"{page}?attempt=2")
    assert answer["Location"] == f"/admin/builds/build/{second.pk}/change/?attempt=2"
    for nonsense in ("3", "x", "", "99999999999", "²"):
        assert admin.get(page, {"attempt": nonsense}).status_code == 200
    assert seated(stranger).get(f"{page}?attempt=2")["Location"].startswith("/admin/login/")
    shown = f"/admin/images/image/{image.pk}/change/?attempt=1"
    assert admin.get(shown).context["build"] == first


@pytest.mark.django_db(transaction=True)
def test_the_owner_describes_the_image_on_its_page(
    mine: Client, theirs: Client, send: Send
) -> None:
    image_id = send(public="true", readme="old").json()["image_id"]
    page = f"/i/{image_id}/describe"
    picture = io.BytesIO()
    PIL.Image.new("RGB", (4, 4)).save(picture, "PNG")
    logo = SimpleUploadedFile("logo.png", picture.getvalue())
    answer = mine.post(page, {"readme": "# New\r\n", "logo": logo}, follow=True)
    image = Image.objects.get()
    assert (image.readme, image.public) == ("# New\n", False)
    assert "Saved." in text(answer)
    assert f'src="/logos/{image.logo_id}.webp"' in text(answer)
    bad = SimpleUploadedFile("logo.png", b"<svg/>")
    refused = mine.post(page, {"readme": "x", "public": "on", "logo": bad}, follow=True)
    assert "The logo is no picture" in text(refused)
    assert "Readme: " in text(mine.post(page, {"readme": "x" * (1024**2 + 1)}, follow=True))
    assert Image.objects.get().readme == "# New\n"
    mine.post(page, {"readme": "x", "public": "on", "no_logo": "on"})
    image.refresh_from_db()
    assert (image.readme, image.public, image.logo_id) == ("x", True, None)
    assert theirs.post(page, {"readme": "theirs"}).status_code == 404
    assert "tab=settings" not in text(theirs.get(f"/i/{image_id}?tab=settings"))
    assert Client().post(page)["Location"].startswith("/sign-in")
    assert limit_of("POST", page) == 5 * 1024**2 + 4 * 1024**2


@pytest.mark.django_db(transaction=True)
def test_the_list_is_sorted_by_its_column_heads(mine: Client, send: Send) -> None:
    for name in ("bbb", "aaa", "ccc"):
        send(name=name)

    def names(query: str) -> list[str]:
        page = mine.get(f"/?{query}")
        return [image.name for image, _ in page.context["rows"]]

    assert names("") == ["ccc", "aaa", "bbb"]
    assert names("sort=name") == ["aaa", "bbb", "ccc"]
    assert names("sort=-name") == ["ccc", "bbb", "aaa"]
    assert names("sort=made") == ["bbb", "aaa", "ccc"]
    assert names("sort=nonsense") == names("sort=-made") == names("")
    page = text(mine.get("/?sort=name&name=a"))
    assert 'href="?name=a&amp;sort=-name" aria-current="true"' in page
    assert 'data-live="no"' in page
    for each in ("size", "-size", "took", "-took"):
        assert len(names(f"sort={each}")) == 3
