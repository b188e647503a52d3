"""Format times, durations, sizes and status badges, as static/pages/times.js does."""

from datetime import datetime
from math import ceil
from typing import Protocol

from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html

MINUTE, HOUR, DAY = 60, 3_600, 86_400
RECENT = 30 * DAY
MEGABYTES_FROM = 100_000


def duration(seconds: float | None) -> str:
    """Format seconds as 0.4 s, 0:42, 12:05 or 1:02:09. Empty for None."""
    if seconds is None:
        return ""
    if 0 <= seconds < 1:
        return f"{int(seconds * 10) / 10} s"
    minutes, left = divmod(max(0, int(seconds)), MINUTE)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def difference(seconds: float) -> str:
    """Format a difference in seconds as 0:12 longer or 0:03 shorter."""
    return f"{duration(abs(seconds))} {'longer' if seconds > 0 else 'shorter'}"


class Timed(Protocol):
    """An object with start and end, such as a build."""

    started_at: datetime | None
    ended_at: datetime | None


def took(timed: Timed) -> float | None:
    """Seconds from start to end, or to now while it runs. None before it starts."""
    if timed.started_at is None:
        return None
    return ((timed.ended_at or timezone.now()) - timed.started_at).total_seconds()


def within(low: float, high: float) -> str:
    """Format a range of seconds: `within 2 min`, `in 3 to 8 min`, `in 2 to 4 h`."""
    if high < 2 * HOUR:
        first, last, unit = int(low // MINUTE), ceil(high / MINUTE), "min"
    else:
        first, last, unit = int(low // HOUR), ceil(high / HOUR), "h"
    if not first:
        return f"within {max(1, last)} {unit}"
    return f"in {first} to {max(first + 1, last)} {unit}"


def megabytes(size: int | str | None) -> str:
    """Format bytes as 12.3 MB (or 12.3 kB below 0.1 MB), in powers of 1000. Empty unless an
    integer."""
    if not isinstance(size, int):
        return ""
    return f"{size / 1_000_000:.1f} MB" if size >= MEGABYTES_FROM else f"{size / 1_000:.1f} kB"


def abs_megabytes(size: int) -> str:
    """Same as `megabytes`, without the sign."""
    return megabytes(abs(size))


def ago(at: datetime | None) -> str:
    """An HTML `<time>` element with a relative time, and the exact UTC time as its title."""
    if at is None:
        return ""
    seconds = (timezone.now() - at).total_seconds()
    exact = at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>',
        at.isoformat(),
        exact,
        _ago(seconds, at),
    )


def _ago(seconds: float, at: datetime) -> str:
    if seconds < MINUTE:
        return "just now"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min ago"
    if seconds < DAY:
        return f"{int(seconds // HOUR)} h ago"
    if seconds < RECENT:
        return f"{int(seconds // DAY)} d ago"
    return at.strftime("%Y-%m-%d")


def badge(word: str) -> str:
    """HTML badge of a build status (one of five words): icon, colour and text."""
    return format_html(
        '<span class="status {0}"><svg class="shape" aria-hidden="true" width="14" height="14">'
        '<use href="{1}#{0}"/></svg><span class="word">{0}</span></span>',
        word,
        static("pages/status.svg"),
    )
