"""What log records carry, how they look, and which are kept."""

import json
import logging
import time
from logging import LogRecord
from typing import Any

import pytest
from django.test import Client

from builds import runner
from builds.log_context import working_on
from builds.models.incidents import Incident
from observability.logs import REQUEST_ID, Ids, JsonFormatter, Keeper
from tests.conftest import Order


class Sink(logging.Handler):
    """Keeps what the console would be given."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(Ids())
        self.setFormatter(JsonFormatter())
        self.records: list[LogRecord] = []

    def emit(self, record: LogRecord) -> None:
        self.records.append(record)

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(self.format(record)) for record in self.records]


@pytest.fixture
def sink() -> Any:
    handler = Sink()
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.django_db(transaction=True)
def test_every_record_of_a_build_carries_its_id(order: Order, sink: Sink) -> None:
    build = order("echo hello")
    runner.run(build.pk)
    told = [each for each in sink.told() if each["logger"] == "builds.runner"]
    assert told
    assert {each["build_id"] for each in told} == {str(build.pk)}
    logging.getLogger("after").info("nothing of a build")
    assert "build_id" not in sink.told()[-1]


@pytest.mark.django_db
def test_a_request_is_named_by_its_client_or_by_us(sink: Sink) -> None:
    given = Client().get("/healthz", headers={"X-Request-Id": "abc-1.2"})
    assert given.headers["X-Request-Id"] == "abc-1.2"
    evil = Client().get("/healthz", headers={"X-Request-Id": "a b"})
    assert len(evil.headers["X-Request-Id"]) == 32
    assert Client().get("/healthz").headers["X-Request-Id"] != evil.headers["X-Request-Id"]


@pytest.mark.django_db
def test_every_record_of_a_request_carries_its_id(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        logging.getLogger("part").warning("here")

    monkeypatch.setattr("observability.health.CHECKS", {"part": broken})
    Client().get("/readyz", headers={"X-Request-Id": "mine"})
    [told] = [each for each in sink.told() if each["logger"] == "part"]
    assert told["request_id"] == "mine"


def test_json_has_the_message_the_level_and_the_traceback(sink: Sink) -> None:
    try:
        int("planted")
    except ValueError:
        logging.getLogger("there").exception("it %s", "broke")
    told = sink.told()[-1]
    assert (told["level"], told["logger"], told["message"]) == ("ERROR", "there", "it broke")
    assert "ValueError: invalid literal" in told["traceback"]
    assert told["at"].endswith("+00:00")


def test_text_names_request_and_build_where_there_are_some() -> None:
    record = logging.makeLogRecord({"msg": "hello"})
    token = REQUEST_ID.set("r1")
    try:
        with working_on("b1"):  # type: ignore[arg-type]
            Ids().filter(record)
    finally:
        REQUEST_ID.reset(token)
    text = logging.Formatter("{message}{ids}", style="{").format(record)
    assert text == "hello request=r1 build=b1"


@pytest.mark.django_db(transaction=True)
def test_errors_are_kept_for_operators_and_warnings_are_not() -> None:
    keeper = Keeper()
    log = logging.getLogger("kept")
    log.addHandler(keeper)
    try:
        log.warning("only a warning")
        log.error("an error of %s", "ours")
        until = time.monotonic() + 10
        while not Incident.objects.exists() and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        log.removeHandler(keeper)
    assert [each.message for each in Incident.objects.all()] == ["an error of ours"]
