"""Ended logs in files: complete, in order, and found again from any line."""

import io
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import zstandard
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from builds import reaper, runner
from builds.build_spec import StepOutput
from builds.conf import BuildSettings
from builds.logs import archive as archive_module
from builds.logs import archive_format, truncation
from builds.logs import reader as pages
from builds.logs import writer as writer_module
from builds.logs.archive import archive, archive_ended, drop_due_chunks
from builds.logs.archive_format import BadArchive, FrameWriter, Index
from builds.logs.lines import LogLine
from builds.logs.search import search
from builds.models import Build, LogChunk
from builds.registry import Registry
from tests.builds.logs.test_writer import pen
from tests.conftest import Order, log_of, stand

pytestmark = pytest.mark.django_db


@pytest.fixture
def finished(order: Order) -> Build:
    build = order("repeat 3000 a line of some length: é", "stderr other")
    runner.run(build.pk)
    return Build.objects.get(pk=build.pk)


def told(build: Build, start: int) -> list[LogLine]:
    found = pages.page(build.image_id, attempt=build.number, line=start)
    assert found
    return found.lines


def test_an_archived_log_is_the_same_from_any_line_without_its_chunks(
    finished: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_format, "FRAME_BYTES", 2_000)
    before = log_of(finished)
    samples = {line: told(finished, line)[0] for line in range(0, finished.log_lines, 97)}
    assert archive(finished)
    LogChunk.objects.all().delete()
    assert log_of(finished) == before
    assert {line: told(finished, line)[0] for line in samples} == samples
    assert told(finished, finished.log_lines) == []


def test_any_zstd_tool_makes_the_text_of_an_archive(finished: Build) -> None:
    archive(finished)
    finished.refresh_from_db()
    text = "".join(f"{text}\n" for _, text in log_of(finished))
    with default_storage.open(finished.archive_key) as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        assert reader.read() == text.encode()


def test_chunks_stay_for_a_while_and_then_go(finished: Build) -> None:
    archive(finished)
    drop_due_chunks()
    assert LogChunk.objects.exists()
    Build.objects.update(chunks_due_at=datetime(2026, 1, 1, tzinfo=UTC))
    drop_due_chunks()
    drop_due_chunks()
    assert not LogChunk.objects.exists()
    assert len(log_of(finished)) == finished.log_lines


def test_a_worker_archives_its_own_at_once_and_those_of_others_later(
    finished: Build, settings: Any
) -> None:
    settings.BUILDS = replace(settings.BUILDS, redis_url="redis://elsewhere")
    archive_ended(worker="somebody else")
    assert not Build.objects.exclude(archive_key="").exists()
    archive_ended(worker=finished.worker)
    assert Build.objects.exclude(archive_key="").exists()
    Build.objects.update(archive_key="", ended_at=finished.queued_at - timedelta(hours=1))
    archive_ended(worker="somebody else")
    assert Build.objects.exclude(archive_key="").exists()


def test_a_worker_that_is_alone_archives_everything_at_once(finished: Build) -> None:
    archive_ended(worker="the process after that")
    assert Build.objects.exclude(archive_key="").exists()


def test_archiving_twice_leaves_one_file(finished: Build) -> None:
    copy = Build.objects.get()
    assert archive(finished)
    assert not archive(copy)
    assert len(default_storage.listdir(archive_module.FOLDER)[1]) == 1


@pytest.fixture(autouse=True)
def storage(settings: Any, deployment: BuildSettings) -> None:
    """A folder of its own."""
    options = {"location": deployment.data_dir / "files"}
    backend = settings.STORAGES["default"]["BACKEND"]
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": backend, "OPTIONS": options},
    }
    pages.index_of.cache_clear()


def test_what_cannot_be_read_back_is_not_pointed_to(
    finished: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = default_storage._wrapped if hasattr(default_storage, "_wrapped") else default_storage
    save = good.save

    def cut(name: str, content: Any) -> str:
        data = bytearray(content.read())
        data[50] ^= 1
        return str(save(name, ContentFile(bytes(data))))

    monkeypatch.setattr(good, "save", cut)
    archive_ended(worker=finished.worker)
    assert Build.objects.get().archive_key == ""
    assert default_storage.listdir(archive_module.FOLDER)[1] == []
    monkeypatch.undo()


def test_a_log_whose_chunks_are_not_all_there_is_not_archived(finished: Build) -> None:
    LogChunk.objects.order_by("-seq").first().delete()  # type: ignore[union-attr]
    with pytest.raises(BadArchive):
        archive(finished)


def test_a_deleted_image_takes_its_archive_along(finished: Build, registry: Registry) -> None:
    archive(finished)
    stray = default_storage.save("logs/stray.zst", ContentFile(b"x"))
    Build.objects.update(discarded_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert not archive(finished)
    reaper.purge()
    assert default_storage.listdir(archive_module.FOLDER)[1] == [stray.rpartition("/")[2]]


def test_a_log_with_a_gap_is_archived_with_its_numbers(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truncation, "HEAD_LINES", 100)
    monkeypatch.setattr(truncation, "TAIL_LINES", 200)
    monkeypatch.setattr(writer_module, "FLUSH_BYTES", 100)
    build = order("echo hello")
    log = pen(build)
    for n in range(1_000):
        log.write(StepOutput("stdout", b"line %d\n" % n))
    log.finish()
    stand(Build.objects.all(), "succeeded")
    build.refresh_from_db()
    before = log_of(build)
    spots = (0, 99, build.gap_start, 500, build.gap_stop, 999)
    samples = [told(build, spot)[0] for spot in spots]
    archive(build)
    build.refresh_from_db()
    LogChunk.objects.all().delete()
    assert log_of(build) == before
    assert [told(build, spot)[0] for spot in spots] == samples
    assert search(build, "line 999", ignore_case=False, start=0, count=9).hits == [
        (999, "line 999")
    ]


def test_any_lines_come_back_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_format, "FRAME_BYTES", 500)
    chance = random.Random(7)
    lines = [
        LogLine(
            stream=chance.choice(("stdout", "stderr")),
            text="".join(chance.choices('ab é\u2028\x1b\t"\\', k=chance.randrange(60))),
            at=datetime.fromtimestamp(1_800_000_000 + n, UTC),
            step=chance.choice((None, 1, 2)),
        )
        for n in range(500)
    ]
    file = io.BytesIO()
    writer = FrameWriter(file)
    for line in lines:
        writer.add(line)
    writer.finish()
    index = Index.read(file)
    assert len(index.frames) > 10
    assert [line for frame in index.frames for line in index.lines(file, frame)] == lines


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    with pytest.raises(BadArchive):
        Index.read(io.BytesIO(content))


@pytest.mark.parametrize("archived", [False, True], ids=["live", "archived"])
def test_a_search_counts_all_and_shows_pages(order: Order, archived: bool) -> None:
    build = order("repeat 500 of them", 'echo A "quoted" \\ Thing')
    runner.run(build.pk)
    build.refresh_from_db()
    if archived:
        archive(build)
        build.refresh_from_db()
    texts = [text for _, text in log_of(build)]
    expected = [(n, text) for n, text in enumerate(texts) if "of them" in text]
    found = search(build, "of them", ignore_case=False, start=0, count=200)
    assert found.total == len(expected) >= 500
    assert found.hits == expected[:200]
    assert found.next == expected[200][0]
    rest = search(build, "of them", ignore_case=False, start=found.next, count=1_000)
    assert (rest.hits, rest.next, rest.total) == (expected[200:], None, found.total)
    for text, case, total in (
        (': echo A "quoted" \\ T', False, 1),
        ('A "quoted" \\ T', False, 2),
        ('a "QUOTED" \\ t', False, 0),
        ('a "QUOTED" \\ t', True, 2),
        ("o[f]", False, 0),
        (uuid4().hex, True, 0),
    ):
        assert search(build, text, ignore_case=case, start=0, count=9).total == total, text


def test_a_page_holds_as_many_lines_as_were_asked_for_and_no_others(finished: Build) -> None:
    everything = log_of(finished)

    def asked(line: int) -> list[str]:
        found = pages.page(finished.image_id, attempt=1, line=line, most=7)
        assert found
        return [each.text for each in found.lines]

    places = (0, 1, 1_999, 2_500, len(everything) - 7, len(everything) - 3)
    expected = [[text for _, text in everything[at : at + 7]] for at in places]
    assert [asked(at) for at in places] == expected
    archive(finished)
    assert [asked(at) for at in places] == expected
