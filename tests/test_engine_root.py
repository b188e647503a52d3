"""The engine root: made whole or not at all, kept while in use, and what its programs see."""

import os
import signal
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from builds.engine_root import EngineRoot, NoEngineRoot
from builds.process import CLEAN_ENV, run
from tests.engine_root import ENGINE_ROOT, VARIABLE
from tests.registry import free_port

SCRIPT = Path(__file__).parent.parent / "deploy/engine-root.sh"
PROGRAMS = (
    "bash busybox containerd docker docker-registry dockerd git ip mkfs.ext4 newuidmap runc "
    "setpriv skopeo slirp4netns tar unshare xz"
)
PRETEND = f"""#!/bin/bash
# Unpacks nothing: makes what the script looks at.
[ -z "$PRETEND_TO_FAIL" ] || {{ echo "E: no such mirror" >&2; exit 1; }}
while [ "$1" != trixie ]; do shift; done
tree=$2
mkdir -p "$tree"/usr/bin "$tree"/dev "$tree"/etc/ssl/certs "$tree"/usr/share/ca-certificates
touch "$tree"/usr/share/ca-certificates/one.crt
cd "$tree/usr/bin"
touch {PROGRAMS}
[ -z "$PRETEND_TO_HANG" ] || {{ touch "$PRETEND_TO_HANG"; sleep 60; }}
chmod 4755 *
chmod 666 "$tree"/usr/share/ca-certificates/one.crt
printf 'git 1:2.0\\n' >"$tree/packages.txt"
"""


@pytest.fixture
def bench(tmp_path: Path) -> dict[str, str]:
    """An environment in which mmdebstrap only pretends."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mmdebstrap").write_text(PRETEND)
    (programs / "mmdebstrap").chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "SLIPWAY_DATA_DIR": str(tmp_path / "data"),
        "SLIPWAY_DEBIAN_MIRROR": "http://mirror.invalid/debian",
    }


def make(bench: dict[str, str], *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", SCRIPT, *arguments],
        env={**bench, **more},
        capture_output=True,
        text=True,
        check=False,
    )


def roots(bench: dict[str, str]) -> Path:
    return Path(bench["SLIPWAY_DATA_DIR"], "engine-root")


def trees(bench: dict[str, str]) -> list[str]:
    return sorted(each.name for each in roots(bench).iterdir() if each.name.startswith("2"))


def leftovers(bench: dict[str, str]) -> list[str]:
    return [each.name for each in roots(bench).iterdir() if each.name.startswith(".making")]


def test_one_is_made_once_and_nobody_else_can_write_it(bench: dict[str, str]) -> None:
    assert make(bench).returncode == 0
    [tree] = trees(bench)
    assert (roots(bench) / "current").readlink() == Path(tree)
    for path in (roots(bench) / tree).rglob("*"):
        about = path.lstat()
        assert about.st_uid == os.geteuid()
        assert not about.st_mode & (stat.S_ISUID | stat.S_ISGID | 0o022), path
        assert about.st_mode & stat.S_IROTH, path
    again = make(bench, PRETEND_TO_FAIL="yes")
    assert (again.returncode, again.stderr, trees(bench)) == (0, "", [tree])


def test_one_that_fails_leaves_nothing_and_says_why(bench: dict[str, str]) -> None:
    failed = make(bench, PRETEND_TO_FAIL="yes")
    assert failed.returncode == 1
    assert "E: no such mirror" in failed.stderr
    assert trees(bench) + leftovers(bench) == []
    assert not os.path.lexists(roots(bench) / "current")


def test_a_renewal_that_fails_leaves_the_present_one(bench: dict[str, str]) -> None:
    make(bench)
    before = trees(bench)
    assert make(bench, "--renew", PRETEND_TO_FAIL="yes").returncode == 1
    assert trees(bench) == before
    assert EngineRoot(roots(bench) / "current").packages() == {"git": "1:2.0"}


def test_one_that_is_killed_is_no_engine_root_and_is_cleared_by_the_next(
    bench: dict[str, str], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    making = subprocess.Popen(
        ["bash", SCRIPT],
        env={**bench, "PRETEND_TO_HANG": str(begun)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not begun.exists():
        assert making.poll() is None
        time.sleep(0.02)
    os.killpg(making.pid, signal.SIGKILL)
    making.wait()
    assert leftovers(bench) != []
    with pytest.raises(NoEngineRoot, match="make engine"):
        EngineRoot(roots(bench) / "current").find()
    assert make(bench).returncode == 0
    assert leftovers(bench) == []
    assert len(trees(bench)) == 1


def test_a_former_one_stays_while_a_sandbox_shows_it(bench: dict[str, str]) -> None:
    make(bench)
    [former] = trees(bench)
    shown = roots(bench) / former / "usr"
    command = ["bwrap", "--dev-bind", "/", "/", "--ro-bind", str(shown), "/mnt", "sleep", "60"]
    sandbox = subprocess.Popen(command)
    try:
        while not _shows(sandbox.pid, former):
            time.sleep(0.02)
        assert make(bench, "--renew").returncode == 0
        assert former in trees(bench)
        assert len(trees(bench)) == 2
        assert (roots(bench) / "current").readlink() != Path(former)
    finally:
        sandbox.kill()
        sandbox.wait()
    while _shown_anywhere(former):
        time.sleep(0.02)
    make(bench)
    assert former not in trees(bench)
    assert len(trees(bench)) == 1


def _shows(pid: int, tree: str) -> bool:
    pids = [pid]
    with suppress(OSError):
        pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return any(_mounts(each, tree) for each in pids)


def _shown_anywhere(tree: str) -> bool:
    return any(_mounts(int(each.name), tree) for each in Path("/proc").glob("[0-9]*"))


def _mounts(pid: int, tree: str) -> bool:
    with suppress(OSError):
        return f"/engine-root/{tree}/" in Path(f"/proc/{pid}/mountinfo").read_text()
    return False


def test_one_with_other_packages_than_this_version_needs_is_made_anew(
    bench: dict[str, str],
) -> None:
    make(bench)
    [former] = trees(bench)
    (roots(bench) / former / "included.txt").write_text("bash\n")
    make(bench)
    assert trees(bench) != [former]
    assert len(trees(bench)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can plant what is another user's")
def test_a_folder_of_somebody_else_is_no_place_for_one(bench: dict[str, str]) -> None:
    roots(bench).mkdir(parents=True)
    os.chown(roots(bench), 65534, 65534)
    refused = make(bench)
    assert refused.returncode == 1
    assert "is not a folder of root" in refused.stderr


def test_a_newer_version_is_named_and_asking_changes_nothing(
    bench: dict[str, str], tmp_path: Path
) -> None:
    make(bench)
    pretend = tmp_path / "bin" / "mmdebstrap"
    pretend.write_text("#!/bin/sh\necho 'Conf git (1:2.1 Debian:13/stable [amd64])'\n")
    assert make(bench, "--check").stdout == "git 1:2.0 1:2.1\n"
    pretend.write_text("#!/bin/sh\necho 'Conf git (1:2.0 Debian:13/stable [amd64])'\n")
    assert make(bench, "--check").stdout == ""
    pretend.write_text("#!/bin/sh\nexit 1\n")
    asked = make(bench, "--check")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "could not be asked" in asked.stderr


def test_debian_is_really_asked() -> None:
    asked = run(
        ["bash", SCRIPT, "--check"],
        env={**CLEAN_ENV, VARIABLE: str(ENGINE_ROOT.path)},
        deadline=110,
    )
    for line in asked.stdout.decode().splitlines():
        name, here, there = line.split()
        assert ENGINE_ROOT.packages()[name] == here != there


def test_the_real_one_has_its_programs_and_no_privileged_file() -> None:
    root = ENGINE_ROOT.find()
    assert {"docker.io", "docker-buildx", "git", "skopeo"} <= ENGINE_ROOT.packages().keys()
    for path in root.rglob("*"):
        about = path.lstat()
        if not stat.S_ISLNK(about.st_mode):
            assert not about.st_mode & (stat.S_ISUID | stat.S_ISGID | 0o022), path
    for program in ("skopeo", "dockerd", "git", "docker-registry", "runc"):
        said = run(ENGINE_ROOT.command(program, "--version"), deadline=20)
        assert said.stdout + said.stderr


def test_a_program_sees_the_folders_it_is_given_and_nothing_else_of_the_host(
    tmp_path: Path,
) -> None:
    given, hidden = tmp_path / "given", tmp_path / "hidden"
    for folder in (given, hidden):
        folder.mkdir()
        (folder / "file").write_text("content")

    def said(*command: str, **folders: Any) -> tuple[int, bytes]:
        done = run(ENGINE_ROOT.command(*command, **folders), deadline=20, check=False)
        return done.exit_code, done.stdout

    assert said("cat", f"{given}/file", readable=[given]) == (0, b"content")
    assert said("cat", f"{hidden}/file", readable=[given])[0] != 0
    assert said("cat", "/etc/passwd")[0] != 0
    assert said("touch", f"{given}/new", readable=[given])[0] != 0
    assert said("touch", "/usr/new")[0] != 0
    assert said("touch", f"{given}/new", writable=[given])[0] == 0
    assert (given / "new").exists()


def test_a_program_reaches_the_hosts_network_only_where_it_is_told_to() -> None:
    port = free_port()
    with subprocess.Popen(
        ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            fetch = ("busybox", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{port}/")
            reached = ENGINE_ROOT.command(*fetch, network=True)
            while run(reached, deadline=20, check=False).exit_code:
                assert server.poll() is None
                time.sleep(0.05)
            assert run(ENGINE_ROOT.command(*fetch), deadline=20, check=False).exit_code
        finally:
            server.terminate()
