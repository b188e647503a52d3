"""Children are read live, bounded, and never outlive whoever asked for them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from builds.process import ProcessError, end_processes, run, session_members, start, start_time


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def gone(pid: int, within: float = 5.0) -> bool:
    until = time.monotonic() + within
    while runs(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not runs(pid)


def test_both_streams_arrive_with_their_names_and_the_exit_code_comes_last() -> None:
    got = {"stdout": b"", "stderr": b""}
    with start(["sh", "-c", "echo out; echo err >&2; exit 3"]) as child:
        for stream, data in child.read():
            got[stream] += data
        assert child.exit_code == 3
    assert got == {"stdout": b"out\n", "stderr": b"err\n"}


def test_a_partial_line_arrives_while_the_child_still_runs() -> None:
    with start(["sh", "-c", "printf half; sleep 30"]) as child:
        first = next(data for _, data in child.read() if data)
        assert first == b"half"
        assert child.exit_code is None


@pytest.mark.parametrize("script", ["sleep 0.5", "for i in $(seq 50); do echo x; sleep 0.01; done"])
def test_a_reader_hears_a_tick_whether_the_child_is_silent_or_talks(script: str) -> None:
    with start(["sh", "-c", script]) as child:
        ticks = [data for _, data in child.read(0.1) if not data]
    assert len(ticks) >= 3


def test_a_slow_reader_slows_the_child_down() -> None:
    with start([sys.executable, "-c", "while True: print('x' * 1000)"]) as child:
        reading = child.read()
        next(reading)
        time.sleep(0.3)
        io = Path(f"/proc/{child.pid}/io").read_text()
        written = int(io.split("wchar: ")[1].split()[0])
    assert written < 1_000_000


def test_a_grandchild_that_keeps_the_pipe_does_not_keep_the_reader() -> None:
    began = time.monotonic()
    finished = run(["sh", "-c", "sleep 60 & echo $!"], deadline=10)
    assert time.monotonic() - began < 3
    assert gone(int(finished.stdout))


def test_leaving_the_block_kills_grandchildren_in_groups_of_their_own() -> None:
    with start(["bash", "-c", "set -m; trap '' TERM; sleep 60 & echo $!; wait"]) as child:
        grandchild = int(next(data for _, data in child.read() if data))
        assert runs(grandchild)
    assert child.exit_code == -signal.SIGKILL
    assert gone(grandchild)
    assert session_members(child.pid) == []


def test_killing_from_another_thread_ends_the_reading() -> None:
    with start(["sleep", "60"]) as child:
        threading.Timer(0.1, child.kill).start()
        assert all(not data for _, data in child.read())
    assert child.exit_code == -signal.SIGKILL


def test_a_child_asked_to_stop_may_say_goodbye(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    with start(["sh", "-c", script], log=log) as child:
        while not log.read_text():
            time.sleep(0.01)
        assert child.stop(5) == 0
    assert log.read_text() == "up\nbye\n"


def test_a_child_knows_only_the_environment_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_SECRET", "planted")
    assert b"planted" not in run(["env"], deadline=5).stdout
    env = {"PATH": "/usr/bin:/bin", "A": "1"}
    listing = run(["env"], deadline=5, env=env, cwd=Path("/")).stdout.splitlines()
    assert sorted(listing) == [b"A=1", b"PATH=/usr/bin:/bin", b"PWD=/"]


def test_a_child_reads_nothing_and_inherits_no_open_file() -> None:
    secret = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        listing = run(["sh", "-c", "cat; ls /proc/self/fd"], deadline=5).stdout.split()
    finally:
        os.close(secret)
    assert listing == [b"0", b"1", b"2", b"3"]  # 3 is ls reading the folder


def test_a_failing_command_is_named_with_what_it_said() -> None:
    with pytest.raises(ProcessError, match=r"^sh ended with exit code 4: no luck$"):
        run(["sh", "-c", "echo no luck >&2; exit 4"], deadline=5)
    assert run(["sh", "-c", "exit 4"], deadline=5, check=False).exit_code == 4


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProcessError, match=r"^no-such-program is not installed"):
        start(["no-such-program"])


def test_a_late_command_is_killed_and_named() -> None:
    began = time.monotonic()
    with pytest.raises(ProcessError, match=r"^sleep did not end within 0.2 seconds$"):
        run(["sleep", "60"], deadline=0.2)
    assert time.monotonic() - began < 3


def test_a_command_that_never_stops_writing_is_cut_off() -> None:
    with pytest.raises(ProcessError, match=r"^yes wrote more than 1000 bytes$"):
        run(["yes"], deadline=5, output_limit=1000)


def test_a_child_outlives_the_thread_that_asked_for_it() -> None:
    children = []
    asking = threading.Thread(target=lambda: children.append(start(["sleep", "60"])))
    asking.start()
    asking.join()
    time.sleep(0.1)
    with children[0] as child:
        assert runs(child.pid)


def test_a_forked_process_starts_children_of_its_own() -> None:
    script = """
import os
from builds.process import run
run(["true"], deadline=5)
if os.fork() == 0:
    os._exit(run(["sh", "-c", "exit 7"], deadline=5, check=False).exit_code)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=10, check=True
    ).stdout
    assert said == b"7\n"


def test_children_die_with_a_slipway_that_is_killed() -> None:
    script = """
from builds.process import start
child = start(["sleep", "60"])
print(child.pid, flush=True)
child.kill if input() else None
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as slipway:
        assert slipway.stdout is not None
        pid = int(slipway.stdout.readline())
        assert runs(pid)
        slipway.kill()
    assert gone(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the user")
def test_children_of_another_user_die_with_a_slipway_that_is_killed() -> None:
    script = """
from builds.process import start
child = start(["sleep", "60"], user="nobody")
print(child.pid, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as slipway:
        assert slipway.stdout is not None
        pid = int(slipway.stdout.readline())
        until = time.monotonic() + 5
        while Path(f"/proc/{pid}").stat().st_uid == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert Path(f"/proc/{pid}").stat().st_uid != 0
        time.sleep(0.05)
        slipway.kill()
    assert gone(pid)


def test_a_process_is_named_by_its_pid_and_the_time_it_started() -> None:
    with start(["sleep", "60"]) as child:
        assert start_time(child.pid) == start_time(child.pid) is not None
    assert start_time(child.pid) is None


def test_processes_that_cannot_be_killed_are_reported() -> None:
    with pytest.raises(ProcessError, match=r"outlived"):
        end_processes(lambda: [2**22 + 1], within=0.05)
