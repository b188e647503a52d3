"""Modules stay small, and tests use nothing private of other tests."""

import ast
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
MOST_LINES = 250
PARSER = "one grammar, whose parts call each other"
PROTOCOL = "one exchange with one peer, whose steps share their state"
TABLE = "a table, read from top to bottom"
LONGER = {
    "builds/context/tar_reader.py": (370, PARSER),
    "builds/context/zip_reader.py": (275, PARSER),
    "builds/dockerfile/expansion.py": (365, PARSER),
    "builds/dockerfile/reader.py": (420, PARSER),
    "builds/dockerfile/source.py": (405, PARSER),
    "builds/dockerfile/stages.py": (330, PARSER),
    "builds/engines/base_images/fetch.py": (370, PROTOCOL),
    "builds/engines/base_images/manifest.py": (285, PARSER),
    "builds/engines/base_images/sandbox.py": (260, PROTOCOL),
    "builds/engines/base_images/socks.py": (280, PROTOCOL),
    "builds/engines/base_images/store.py": (330, "one folder and the locks over it"),
    "builds/engines/buildkit/builders.py": (285, "the pool of builders and its one lock"),
    "builds/engines/buildkit/engine.py": (285, "one build from its beginning to its end"),
    "builds/engines/sandbox/helper.py": (315, PROTOCOL),
    "builds/engines/scripted.py": (275, "the language that tests write builds in"),
    "builds/models/builds.py": (380, "the table of builds: its fields, indexes and querysets"),
    "builds/process.py": (265, "one child from its start to its end"),
    "builds/registry/push.py": (340, PROTOCOL),
    "builds/runner.py": (330, "one attempt from claim to final status"),
    "common/error_codes.py": (400, TABLE),
    "config/env.py": (350, TABLE),
    "config/settings.py": (310, TABLE),
    "dashboard/system.py": (270, "one page, and the queries behind it"),
    "helper/builder.py": (265, "one sandbox from its start to its removal"),
    "helper/connection.py": (355, PROTOCOL),
    "helper/images.py": (280, "one file with a filesystem, and the checks before it is used"),
    "helper/sandbox.py": (330, "what happens between fork and exec, in order"),
    "images/catalog.py": (285, "the one way to change an image"),
    "images/models.py": (320, "the table of images: its fields, indexes and querysets"),
    "images/rest/rows.py": (360, "the columns of an answer and the statements that read them"),
    "images/rest/serializers/responses.py": (290, TABLE),
    "webserver/connection.py": (275, PROTOCOL),
    "webserver/server.py": (300, PROTOCOL),
}
"""Modules over the limit: how long they may be, and why they are one."""


def modules() -> dict[str, int]:
    apart = {"bench", "tests", "var", "node_modules", "examples"}
    found = {}
    for path in CHECKOUT.glob("[a-z]*/**/*.py"):
        name = path.relative_to(CHECKOUT)
        if name.parts[0] not in apart and "migrations" not in name.parts:
            found[name.as_posix()] = len(path.read_text().splitlines())
    return found


def test_no_module_is_longer_than_the_limit_without_a_reason() -> None:
    longest = {name: most for name, (most, _) in LONGER.items()}
    lines = modules()
    assert len(lines) > 200
    over = {name: n for name, n in lines.items() if n > longest.get(name, MOST_LINES)}
    assert over == {}


def test_exceptions_to_the_limit_are_needed() -> None:
    lines = modules()
    assert {name for name in LONGER if lines.get(name, 0) <= MOST_LINES} == set()


def test_tests_import_nothing_private_of_other_tests() -> None:
    found = [
        f"{path.relative_to(CHECKOUT)}: {alias.name}"
        for path in CHECKOUT.glob("tests/**/*.py")
        if "node_modules" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests")
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert found == []


def test_the_architecture_page_names_every_package() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    page = (CHECKOUT / "docs/architecture.md").read_text()
    table = page.partition("| package |")[2].partition("\n\n")[0]
    named = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert named == set(project["tool"]["importlinter"]["root_packages"])
    packages = {path.parent.name for path in CHECKOUT.glob("[a-z]*/__init__.py")}
    assert packages - named == {"bench", "tests"}
