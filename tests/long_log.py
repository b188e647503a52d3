"""A finished log of any length in an instance's database, without a build that prints it."""

from datetime import timedelta
from uuid import UUID, uuid4

from django.utils import timezone

from tests.instance import Instance

CHUNK = 2_000
STEPS = 20


def stored(
    instance: Instance, lines: int, *, name: str = "long", gap: tuple[int, int] = (0, 0)
) -> str:
    """The id of a public image of admin's whose log has so many lines. Line n says so.

    Those of the `gap` were left out at the end: from its first, counted from 0, to before its
    second, each where a chunk begins.
    """
    code = f"from tests.long_log import write; print(write({lines}, {name!r}, {gap!r}))"
    return instance.manage("shell", "-v", "0", "-c", code).strip()


def write(lines: int, name: str, gap: tuple[int, int]) -> UUID:
    """In the instance's own environment, through what its workers call."""
    from accounts.models import User  # noqa: PLC0415 - Django is not set up where `stored` is
    from builds.completion import settle_failed  # noqa: PLC0415
    from builds.failures import CANCELLED  # noqa: PLC0415
    from builds.logs.lines import LogLine  # noqa: PLC0415
    from builds.logs.store import append  # noqa: PLC0415
    from builds.models import Build  # noqa: PLC0415
    from builds.status import Status  # noqa: PLC0415
    from images.models import Image  # noqa: PLC0415

    admin, now, pk = User.objects.get(username="admin"), timezone.now(), uuid4()
    image = Image.objects.create(
        id=pk, reference_id=pk, owner=admin, name=name, tag="1", public=True
    )
    build = Build.objects.create(
        image_id=pk,
        owner_id=admin.pk,
        label=f"admin/{name}:1",
        number=1,
        dockerfile="FROM scratch",
        context_sha256="0" * 64,
        context_bytes=1,
        status=Status.BUILDING,
        fence=1,
        started_at=now,
    )
    build.become_current(image)

    def step_of(number: int) -> int:
        return (number - 1) * STEPS // lines + 1

    for first in range(0, lines, CHUNK):
        chunk = [
            LogLine(
                stream="stdout",
                text=f"line {number} of a build that has a lot to say about what it does",
                at=now + timedelta(milliseconds=number),
                step=step_of(number),
                heading=number == 1 or step_of(number) != step_of(number - 1),
            )
            for number in range(first + 1, min(first + CHUNK, lines) + 1)
        ]
        last = first + CHUNK >= lines
        append(build, chunk, step=chunk[-1].step or 0, steps=STEPS, gap=gap if last else (0, 0))
    settle_failed(build.pk, fence=1, to=Status.CANCELLED, failure=CANCELLED)
    return pk
