"""What `.dockerignore` excludes. Expectations are Docker's, written by hand."""

from pathlib import Path

import pytest

from builds.context import Dockerignore, DockerignoreError, leaves_out, load_dockerignore
from builds.context.dockerignore import MOST_BYTES, MOST_PATTERN_CHARACTERS, MOST_PATTERNS


@pytest.mark.parametrize(
    ("pattern", "excluded", "sent"),
    [
        ("a.log", ["a.log", "a.log/below"], ["b/a.log", "a.logs", "xa.log", "a-log"]),
        ("/a.log", ["a.log"], ["b/a.log"]),
        ("./a.log", ["a.log"], ["b/a.log"]),
        ("b/../a.log", ["a.log"], ["b/a.log"]),
        ("b//c", ["b/c"], ["b", "c"]),
        ("dir/", ["dir", "dir/x", "dir/x/y"], ["directory", "x/dir"]),
        ("*.log", ["a.log", ".log"], ["d/a.log", "a.logs"]),
        ("*/temp*", ["a/temp", "a/temporary.txt"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temp"], ["a/temp"]),
        ("temp?", ["tempa", "temp1"], ["temp", "tempab", "temp/x"]),
        ("*", ["a", "a/b", ".hidden"], []),
        ("**", ["a", "a/b/c", ".hidden"], []),
        ("**/*.go", ["a.go", "a/b/c.go"], ["a.goo", "go"]),
        ("**/node_modules", ["node_modules/x", "a/node_modules", "a/b/node_modules/y"], ["nodes"]),
        ("a/**", ["a/b", "a/b/c"], ["b", "ab"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["z", "a/bz", "az"]),
        ("a**", ["a", "ab", "a/b"], ["b/a"]),
        ("a**b", ["ab", "ax/b", "a/x/b"], ["axb", "a/xb"]),
        ("**/**/x", ["x", "a/x", "a/b/x"], ["ax"]),
        ("***", ["a", "a/b"], []),
        ("[a-c].txt", ["a.txt", "c.txt"], ["d.txt", "-.txt"]),
        ("[^a-c].txt", ["d.txt"], ["a.txt"]),
        ("[\\]]", ["]"], ["\\"]),
        ("[a\\-z]", ["a", "-", "z"], ["m"]),
        ("\\*", ["*"], ["a"]),
        ("\\a.log", [], ["a.log"]),
        ("bin\\Debug", ["binDebug", "binXebug"], ["bin/Debug", "bin1ebug"]),
        ("\\d\\w\\s", ["1a "], ["a1 ", "1a-"]),
        ("**b", ["b", "ab", "a/xb", "b/c"], ["bc"]),
        ("**b?", ["bc", "a/bc"], ["abc", "b"]),
        ("a[^x]b", ["a/b", "acb"], ["axb"]),
        ("// a", ["a"], ["b/a"]),
        ("/", [], ["a"]),
        ("..", [], ["a"]),
        ("{a,b}", ["{a,b}"], ["a"]),
        ("a/*/z", ["a/b/z"], ["a/z", "a/b/c/z"]),
        ("\\#a", ["#a"], ["a"]),
        ("a.b+c(d)|e$", ["a.b+c(d)|e$"], ["aXb+c(d)|e$"]),
        ("ü?", ["üö"], ["u"]),
        ("  spaced name \t", ["spaced name"], ["spaced"]),
    ],
)
def test_a_pattern_excludes_what_docker_excludes(
    pattern: str, excluded: list[str], sent: list[str]
) -> None:
    rules = Dockerignore(pattern)
    assert [path for path in excluded if not rules.excludes(path)] == []
    assert [path for path in sent if rules.excludes(path)] == []


@pytest.mark.parametrize(
    ("text", "excluded", "sent"),
    [
        ("**\n!**/*.py", ["a.log", "src/a.log"], ["src/main.py", "main.py"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", ["a.md"], ["README.md", "README-secret.md"]),
        ("!a\na", ["a"], []),
        ("d\n!d/keep", ["d", "d/x"], ["d/keep", "d/keep/below"]),
        ("d\n!d/keep\nd/keep/x", ["d/keep/x"], ["d/keep/y"]),
        ("*\n! a ", ["b"], ["a"]),
        ("# a\n\n   \nb", ["b"], ["a", "# a"]),
        ("\ufeffa\r\nb\r\n", ["a", "b"], ["c"]),
        (" #a", ["#a"], ["a"]),
        ("", [], ["a", ".dockerignore"]),
    ],
)
def test_the_last_rule_that_matches_decides(
    text: str, excluded: list[str], sent: list[str]
) -> None:
    rules = Dockerignore(text)
    assert [path for path in excluded if not rules.excludes(path)] == []
    assert [path for path in sent if rules.excludes(path)] == []


def test_the_rule_that_excludes_a_path_is_told() -> None:
    rules = Dockerignore("# logs\n*.log\n!keep.log\n/build/\n")
    found = rules.excluding("./build/x/y")
    assert found
    assert (found.line, found.text) == (4, "/build/")
    assert rules.excluding("keep.log") is None


@pytest.mark.parametrize(
    "pattern", ["[", "[]", "[a", "[a-", "[a-]", "[-a]", "[]-a]", "[z-a]", "a\\", "!", "! "]
)
def test_a_pattern_that_docker_refuses_is_refused_with_its_line(pattern: str) -> None:
    with pytest.raises(DockerignoreError, match="line 2 "):
        Dockerignore(f"a\n{pattern}")


def test_a_file_beyond_the_limits_is_refused(tmp_path: Path) -> None:
    Dockerignore("a\n" * MOST_PATTERNS)
    with pytest.raises(DockerignoreError, match="more than 1,000 patterns"):
        Dockerignore("a\n" * (MOST_PATTERNS + 1))
    with pytest.raises(DockerignoreError, match="longer than 1,024"):
        Dockerignore("a" * (MOST_PATTERN_CHARACTERS + 1))
    (tmp_path / ".dockerignore").write_text("#" * MOST_BYTES + "#")
    with pytest.raises(DockerignoreError, match="larger than"):
        load_dockerignore(tmp_path)


@pytest.mark.parametrize(
    "pattern", ["*a" * 512, "**/a" * 256, "**/*" * 256, "[^b]*" * 204, "**" * 512]
)
def test_a_hostile_pattern_takes_one_step_for_each_character(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is tried again: the work is the length of the path, whatever the pattern."""
    rules = Dockerignore(pattern)
    [rule] = rules.rules
    kind = type(rule.pattern)
    steps = 0
    step, skip = kind._step, kind._skip

    def counted_step(self: object, character: str) -> int:
        nonlocal steps
        steps += 1
        return step(self, character)  # type: ignore[arg-type]

    rounds = 0

    def counted_skip(self: object, states: int) -> int:
        nonlocal rounds
        rounds += 1
        return skip(self, states)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "_step", counted_step)
    monkeypatch.setattr(kind, "_skip", counted_skip)
    path = "a" * 500 + "/" + "a" * 500 + "b"
    rules.excludes(path)
    assert steps <= len(path)
    assert rounds <= len(path) + 1


def test_dockerfile_dockerignore_comes_first(tmp_path: Path) -> None:
    assert load_dockerignore(tmp_path) is None
    (tmp_path / ".dockerignore").write_text("a")
    found = load_dockerignore(tmp_path)
    assert found
    assert found.excludes("a")
    (tmp_path / "Dockerfile.dockerignore").write_text("b")
    found = load_dockerignore(tmp_path)
    assert found
    assert found.excludes("b")
    assert not found.excludes("a")


def test_a_path_that_the_context_holds_and_does_not_send_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.log").touch()
    (tmp_path / "b.txt").touch()
    assert not leaves_out(tmp_path, "d/a.log")
    (tmp_path / ".dockerignore").write_text("**/*.log\nd\n")
    assert leaves_out(tmp_path, "d/a.log")
    assert leaves_out(tmp_path, "/d/")
    assert not leaves_out(tmp_path, "d/absent.log")
    assert not leaves_out(tmp_path, "b.txt")
    (tmp_path / ".dockerignore").write_text("[")
    assert not leaves_out(tmp_path, "d/a.log")


@pytest.mark.parametrize("path", ["out/secret", "../outside/secret", "out/../secret", "a\0b", ""])
def test_nobody_learns_of_files_outside_the_context(tmp_path: Path, path: str) -> None:
    context, outside = tmp_path / "context", tmp_path / "outside"
    context.mkdir()
    outside.mkdir()
    (outside / "secret").touch()
    (context / "out").symlink_to(outside)
    (context / ".dockerignore").write_text("**\n")
    assert leaves_out(context, "out")
    assert not leaves_out(context, path)


def test_links_and_folders_in_its_place_are_not_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("a")
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile.dockerignore").mkdir()
    (context / ".dockerignore").symlink_to(outside)
    assert load_dockerignore(context) is None
    (tmp_path / "link").symlink_to(context)
    with pytest.raises(NotADirectoryError):
        load_dockerignore(tmp_path / "link")
