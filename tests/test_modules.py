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
    "api/fields.py": (300, TABLE),
    "builds/context/tar_reader.py": (400, PARSER),
    "builds/context/zip_reader.py": (300, PARSER),
    "builds/dockerfile/expansion.py": (400, PARSER),
    "builds/dockerfile/reader.py": (450, PARSER),
    "builds/dockerfile/source.py": (450, PARSER),
    "builds/dockerfile/stages.py": (350, PARSER),
    "builds/engines/base_images/fetch.py": (400, PROTOCOL),
    "builds/engines/base_images/manifest.py": (300, PARSER),
    "builds/engines/base_images/sandbox.py": (300, PROTOCOL),
    "builds/engines/base_images/socks.py": (300, PROTOCOL),
    "builds/engines/base_images/store.py": (350, "one folder and the locks over it"),
    "builds/engines/buildkit/builders.py": (300, "the pool of builders and its one lock"),
    "builds/engines/buildkit/engine.py": (300, "one build from its beginning to its end"),
    "builds/engines/sandbox/helper.py": (350, PROTOCOL),
    "builds/engines/scripted.py": (300, "the language that tests write builds in"),
    "builds/models/builds.py": (400, "the table of builds: its fields, indexes and querysets"),
    "builds/process.py": (300, "one child from its start to its end"),
    "builds/queue/forecast.py": (300, "one simulation of the queue"),
    "builds/registry/client.py": (300, PROTOCOL),
    "builds/registry/push.py": (350, PROTOCOL),
    "builds/runner.py": (350, "one attempt from claim to final status"),
    "common/error_codes.py": (450, TABLE),
    "config/env.py": (450, TABLE),
    "config/settings.py": (350, TABLE),
    "config/worker.py": (300, "the duties of one worker process, and their threads"),
    "dashboard/system.py": (300, "one page, and the queries behind it"),
    "helper/builder.py": (300, "one sandbox from its start to its removal"),
    "helper/connection.py": (400, PROTOCOL),
    "helper/images.py": (300, "one file with a filesystem, and the checks before it is used"),
    "helper/sandbox.py": (350, "what happens between fork and exec, in order"),
    "images/catalog.py": (300, "the only functions that change images"),
    "images/models.py": (400, "the table of images: its fields, indexes and querysets"),
    "images/rest/rows.py": (400, "the columns of an answer and the statements that read them"),
    "images/rest/serializers/requests.py": (350, TABLE),
    "images/rest/serializers/responses.py": (350, TABLE),
    "webserver/connection.py": (300, PROTOCOL),
    "webserver/server.py": (400, PROTOCOL),
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
