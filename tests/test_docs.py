"""Links in the documentation work, and its lists of pages and of variables are complete."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"SLIPWAY_[A-Z][A-Z_]*[A-Z]")
NO_SETTINGS = {"SLIPWAY_BENCH_CALL", "SLIPWAY_BENCH_DATABASE", "SLIPWAY_KEEP"}
"""Two that only `bench` reads, and the common beginning of several."""


def links(page: Path) -> list[str]:
    found = LINK.findall(CODE_BLOCK.sub("", page.read_text()))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The ids that GitHub gives to headings."""
    headings = HEADING.findall(CODE_BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def test_every_relative_link_leads_to_a_file_and_a_heading() -> None:
    broken = []
    for page in PAGES:
        for link in links(page):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def test_the_index_names_every_document() -> None:
    docs = ROOT / "docs"
    named = {docs / link.partition("#")[0] for link in links(docs / "README.md")}
    assert set(docs.rglob("*.md")) - named == {docs / "README.md"}


def test_every_variable_that_the_code_names_is_documented() -> None:
    documented = set(VARIABLE.findall((ROOT / "docs" / "configuration.md").read_text()))
    packages = [
        path.parent for path in ROOT.glob("[a-z]*/__init__.py") if path.parent.name != "tests"
    ]
    code = [
        ROOT / "Makefile",
        *ROOT.glob("deploy/*.sh"),
        *(p for d in packages for p in d.rglob("*.py")),
    ]
    named = {name for path in code for name in VARIABLE.findall(path.read_text())}
    assert {name.removesuffix("_FILE") for name in named} - documented - NO_SETTINGS == set()
