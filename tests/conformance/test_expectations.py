"""The checks of the suite can fail: each kind of expectation is shown an image that misses it."""

from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.case import Case, Failure
from tests.conformance.expectations import differences, unmet
from tests.conformance.image import Entry, Image
from tests.conformance.result import Result

NOW = 2_000_000_000.0


def entry(kind: Any = "file", content: bytes = b"A", **values: Any) -> Entry:
    attributes: dict[str, Any] = {"mode": 0o644, "owner": "0:0", "mtime": 1.0}
    return Entry(kind=kind, content=content, **attributes | values)


def image(**entries: Entry) -> Image:
    tree = {f"/{name}": each for name, each in entries.items()}
    config = {"Cmd": ["sh"], "Labels": {"a": "b"}}
    return Image(tree=tree, config=config, platform="linux/amd64", history=["x"], layers=1)


def case(**expected: Any) -> Case:
    return Case(name="x", promise="x", dockerfile="FROM scratch", **expected)


GOOD = image(f=entry(), d=entry("dir"), l=entry("link", target="f"))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"files": {"/f": "A"}}, {"files": {"/f": "B"}}),
        ({"files": {"/f": True}}, {"files": {"/g": True}}),
        ({"files": {"/g": False}}, {"files": {"/f": False}}),
        ({"files": {"/d/": True}}, {"files": {"/f/": True}}),
        ({"files": {"/f": {"mode": 0o644}}}, {"files": {"/f": {"mode": 0o4644}}}),
        ({"files": {"/f": {"owner": "0:0"}}}, {"files": {"/f": {"owner": "0:1"}}}),
        ({"files": {"/f": {"mtime": 1}}}, {"files": {"/f": {"mtime": 2}}}),
        ({"files": {"/f": {"size": 1}}}, {"files": {"/f": {"size": 2}}}),
        ({"files": {"/l": {"link": "f"}}}, {"files": {"/l": {"link": "g"}}}),
        ({"files": {"/l": {"kind": "link"}}}, {"files": {"/f": {"same_as": "/l"}}}),
        ({"files": {"/f": {"contains": "A"}}}, {"files": {"/f": {"xattr": "user.a"}}}),
        ({"listing": {"/": ["f", "d", "l"]}}, {"listing": {"/": ["f", "d"]}}),
        ({"config": {"Cmd": ["sh"]}}, {"config": {"Cmd": ["bash"]}}),
        ({"config": {"User": False}}, {"config": {"Cmd": False}}),
        ({"output": ["printed"]}, {"output": ["not printed"]}),
    ],
)
def test_an_expectation_fits_one_image_and_not_another(
    right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    result = Result(image=GOOD, output="it printed this")
    assert not unmet(case(**right), result)
    assert unmet(case(**wrong), result)


@pytest.mark.parametrize(
    "failure",
    [
        Failure(text="other words"),
        Failure(text="code", exit_code=8),
        Failure(text="code", line=4),
    ],
)
def test_a_failure_must_have_the_words_the_exit_code_and_the_line(failure: Failure) -> None:
    result = Result(told="Exit code: 7", exit_code=7, line=3)
    assert not unmet(case(failure=Failure(text="exit code: 7", exit_code=7, line=3)), result)
    assert unmet(case(failure=failure), result)


def test_a_failure_and_an_image_do_not_stand_for_each_other() -> None:
    assert unmet(case(failure=Failure(text="")), Result(image=GOOD))
    assert unmet(case(files={"/f": "A"}), Result(told="failed"))
    assert differences(Result(image=GOOD), Result(told="failed"), since=NOW)
    assert not differences(Result(told="one"), Result(told="other"), since=NOW)


@pytest.mark.parametrize(
    "other",
    [
        image(f=entry(content=b"B")),
        image(f=entry(mode=0o755)),
        image(f=entry(owner="1:0")),
        image(f=entry(mtime=2.0)),
        image(f=entry(mtime=NOW)),
        image(f=entry(xattrs={"user.a": "b"})),
        image(f=entry("link", b"", target="A")),
        image(f=entry(), g=entry()),
        replace(image(f=entry()), config={"Cmd": ["sh"], "Labels": {"a": "c"}}),
        replace(image(f=entry()), config={"Labels": {"a": "b"}}),
        replace(image(f=entry()), history=["y"]),
        replace(image(f=entry()), layers=2),
        replace(image(f=entry()), platform="linux/arm64"),
    ],
)
def test_every_difference_of_two_images_is_found(other: Image) -> None:
    ours = Result(image=image(f=entry()))
    assert not differences(ours, Result(image=image(f=entry())), since=NOW)
    assert differences(ours, Result(image=other), since=NOW)


def test_a_broken_hard_link_is_a_difference() -> None:
    one = entry()
    linked, apart = image(f=one, g=one), image(f=entry(), g=entry())
    assert differences(Result(image=linked), Result(image=apart), since=NOW)


def test_times_of_the_build_and_the_label_of_slipway_are_no_difference() -> None:
    ours = image(f=entry(mtime=NOW + 5))
    ours.config["Labels"]["slipway.build"] = "id"
    theirs = image(f=entry(mtime=NOW + 1))
    assert not differences(Result(image=ours), Result(image=theirs), since=NOW)
