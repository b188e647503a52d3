"""How Slipway starts the helper, and that their lives are tied."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from builds.engines.sandbox.helper import Helper
from helper import start
from helper.start import HelperError, ensure_helper, start_helper
from tests.helper.conftest import needs_root
from tests.helper.running import CHECKOUT, ENGINE_ROOT, wait_for


def test_a_helper_that_runs_is_used_again(tmp_path: Path) -> None:
    helper = start_helper(tmp_path, ENGINE_ROOT)
    try:
        assert ensure_helper(tmp_path, ENGINE_ROOT, None, None) == helper.socket
        assert Helper(helper.socket).info().problems == Helper(helper.socket).info().problems
    finally:
        helper.stop()
    assert helper.process.returncode == 0
    assert not helper.socket.exists()


def test_of_starts_at_one_moment_one_wins_and_the_others_use_its_helper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = start_helper(tmp_path, ENGINE_ROOT)
    answers = iter([False])  # as it was a moment ago
    monkeypatch.setattr(start, "_answers", lambda path: next(answers, True))
    try:
        assert ensure_helper(tmp_path, ENGINE_ROOT, None, None) == helper.socket
        assert start._started == {}
    finally:
        helper.stop()


@needs_root
def test_in_what_root_has_prepared_only_roots_helper_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o1770)
    monkeypatch.setattr(start, "WAIT_SECONDS", 0)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with pytest.raises(HelperError, match="as root"):
        ensure_helper(tmp_path, ENGINE_ROOT, None, None)
    monkeypatch.setattr(start, "_answers", lambda path: True)
    assert ensure_helper(tmp_path, ENGINE_ROOT, None, None) == tmp_path / "run/helper.sock"


def test_the_helper_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from helper.start import ensure_helper\n"
        "print(ensure_helper(Path(sys.argv[1]), Path(sys.argv[2]), None, None), flush=True)\n"
        "sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path), str(ENGINE_ROOT)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, cwd=CHECKOUT) as starter:
        assert starter.stdout is not None
        path = Path(starter.stdout.readline().decode().strip())
        assert Helper(path).info() is not None
        starter.kill()
    wait_for(lambda: not path.exists(), "the helper's end")


def test_a_helper_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "helper").symlink_to(tmp_path)
    with pytest.raises(HelperError):
        ensure_helper(tmp_path, ENGINE_ROOT, None, None)


def test_paths_longer_than_a_socket_may_have_work(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 40)
    data_dir.mkdir()
    helper = start_helper(data_dir, ENGINE_ROOT)
    try:
        assert Helper(helper.socket).info() is not None
    finally:
        helper.stop()


def test_the_helper_imports_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """Started as it is in earnest, beside a module that would shadow one of the library's."""
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "import runpy\n"
        "try: runpy.run_path(sys.orig_argv[-1], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([n for n, m in sys.modules.items() if 'site-packages' in str(m)])\n"
    )
    main = CHECKOUT / "helper/__main__.py"
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    said = subprocess.check_output(
        [sys.executable, "-I", "-S", "-c", code, str(main)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": os.defpath},
        text=True,
    )
    assert "--data-dir" in said
    assert said.splitlines()[-1] == "[]"
