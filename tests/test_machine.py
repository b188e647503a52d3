"""deploy/machine.sh changes nothing on a machine that is ready, and says what others lack."""

import os
import time
from pathlib import Path

import pytest

from builds.process import run

SCRIPT = Path(__file__).parent.parent / "deploy/machine.sh"


@pytest.mark.engine
@pytest.mark.skipif(os.geteuid() != 0, reason="a plain user may lack something")
def test_a_machine_that_is_ready_is_left_alone_at_once() -> None:
    before = Path("/etc/subuid").read_text(), Path("/etc/passwd").read_text()
    began = time.monotonic()
    said = run([SCRIPT, "engine"], deadline=10)
    assert time.monotonic() - began < 1
    assert said.stdout + said.stderr == b""
    assert (Path("/etc/subuid").read_text(), Path("/etc/passwd").read_text()) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")
def test_a_plain_user_is_told_what_to_ask_root_for() -> None:
    text = SCRIPT.read_text()
    said = run(["bash", "-c", text, "machine"], deadline=10, check=False, user="nobody")
    assert said.exit_code == 1
    assert b"usermod --add-subuids" in said.stderr


def test_a_group_that_does_not_exist_is_refused() -> None:
    assert run([SCRIPT, "nonsense"], deadline=10, check=False).exit_code == 2
