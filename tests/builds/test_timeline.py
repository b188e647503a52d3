from datetime import datetime, timedelta

from django.utils import timezone

from builds.models import Build
from builds.status import Status
from builds.timeline import timeline


def test_the_times_of_an_attempt_are_told_in_order_with_what_lay_between() -> None:
    start = timezone.now()

    def after(seconds: int) -> datetime:
        return start + timedelta(seconds=seconds)

    build = Build(
        status=Status.FAILED,
        queued_at=start,
        started_at=after(12),
        worker="host:1",
        pushing_at=after(18),
        cancel_requested_at=after(20),
        ended_at=after(75),
        failure_code="step",
        discarded_at=after(80),
        purged_at=after(81),
    )
    assert [(each.text, each.after) for each in timeline(build)] == [
        ("Queued", None),
        ("Started by worker host:1", 12),
        ("Built; pushing", 6),
        ("Cancelling was asked for", 2),
        ("Failed (step)", 55),
        ("Its image was deleted", 5),
        ("All that it left was removed", 1),
    ]
    waiting = Build(queued_at=start)
    assert [each.text for each in timeline(waiting)] == ["Queued"]
