"""What a build cannot do, each beside a control that shows that the attempt itself works."""

import os
import platform
import shutil
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from builds.build_spec import Limits
from helper import seccomp
from tests.helper.conftest import Base, needs_root
from tests.helper.running import (
    ENGINE_ROOT,
    OWNER,
    ROOMY,
    STRANGER,
    RunningBuilder,
    RunningHelper,
    running_builder,
    running_helper,
    wait_for,
)

pytestmark = [pytest.mark.engine, needs_root]

AF_UNIX, AF_INET, AF_ALG, AF_VSOCK, AF_PACKET = 1, 2, 38, 40, 17
SYSCALLS = {
    "x86_64": {"unshare": 272, "inotify_init1": 294, "io_uring_setup": 425, "fsync": 74},
    "aarch64": {"unshare": 97, "inotify_init1": 26, "io_uring_setup": 425, "fsync": 82},
}[platform.machine()]
CLONE_NEWUSER = 0x10000000
MIB = 1 << 20


def socket_probe(family: int, kind: int = 1) -> str:
    """Perl that prints `opened`, or the error."""
    return f'print "family {family} ", socket(S, {family}, {kind}, 0) ? "opened" : $!, "\\n";'


def syscall_probe(name: str, *arguments: int) -> str:
    numbers = ", ".join(map(str, (SYSCALLS[name], *arguments)))
    return f'print "{name} ", syscall({numbers}) >= 0 ? "allowed" : $!, "\\n";'


PROBES = "".join(
    [
        socket_probe(AF_UNIX),
        socket_probe(AF_INET),
        socket_probe(AF_ALG, 5),
        socket_probe(AF_VSOCK),
        socket_probe(AF_PACKET, 3),
        syscall_probe("unshare", CLONE_NEWUSER),
    ]
)


def perl_beside(code: str, filter_program: bytes = b"") -> list[str]:
    """What the same program prints as root of the host, without a sandbox."""
    fd = os.memfd_create("filter")
    os.write(fd, filter_program)
    os.lseek(fd, 0, os.SEEK_SET)
    argv = ["bwrap", "--ro-bind", str(ENGINE_ROOT), "/", "--dev", "/dev", "--setenv", "LC_ALL", "C"]
    argv += ["--seccomp", str(fd)] if filter_program else []
    argv += ["--", "/usr/bin/perl", "-e", code]
    finished = subprocess.run(argv, capture_output=True, text=True, check=True, pass_fds=[fd])
    os.close(fd)
    return finished.stdout.splitlines()


def run_perl(builder: RunningBuilder, base: Base, code: str) -> list[str]:
    """What the program prints in RUN."""
    dockerfile = f"{base.dockerfile}RUN <<'EOF' perl\n{code}\nEOF\n"
    build = builder.build(dockerfile, context=base.context)
    assert build.succeeded, build.output
    return [line for prefix in ("family", "unshare") for line in build.lines(prefix)]


def test_a_run_opens_no_unusual_socket_and_makes_no_user_namespace(
    builder: RunningBuilder, base: Base
) -> None:
    beside = perl_beside(PROBES)
    assert f"family {AF_VSOCK} opened" in beside
    assert f"family {AF_PACKET} opened" in beside
    assert "unshare allowed" in beside
    within = run_perl(builder, base, PROBES)
    assert [line for line in within if line.endswith(("opened", "allowed"))] == [
        f"family {AF_UNIX} opened",
        f"family {AF_INET} opened",
    ]
    assert len(within) == len(beside)


def test_the_filter_alone_refuses_sockets_and_makes_syncing_a_no_op() -> None:
    """Also where there is every capability, and no filter of Docker's."""
    code = PROBES + syscall_probe("io_uring_setup", 1, 0) + syscall_probe("fsync", -1)
    filtered = dict(line.rsplit(" ", 1) for line in perl_beside(code, seccomp.program()))
    unfiltered = perl_beside(code)
    assert "fsync Bad file descriptor" in unfiltered
    assert "io_uring_setup Function not implemented" not in unfiltered
    refused = "Address family not supported by"
    assert filtered == {
        f"family {AF_UNIX}": "opened",
        f"family {AF_INET}": "opened",
        f"family {AF_ALG} {refused}": "protocol",
        f"family {AF_VSOCK} {refused}": "protocol",
        f"family {AF_PACKET} {refused}": "protocol",
        "unshare": "allowed",
        "io_uring_setup Function not": "implemented",
        "fsync": "allowed",
    }


def test_a_machine_without_known_numbers_has_no_filter() -> None:
    assert seccomp.program("riscv64") == b""
    assert len(seccomp.program("aarch64")) % 8 == 0
    assert seccomp.program("x86_64") != seccomp.program("aarch64")


def test_dockerd_itself_could_make_no_user_namespace_either(
    any_helper: RunningHelper, tmp_path: Path
) -> None:
    """RUN is refused by Docker's own filter already; this is the layer below it."""
    with running_builder(any_helper, tmp_path / "worker") as builder:
        unshare = ("unshare", "--user", "true")
        refused = builder.inside(*unshare, check=False)
        assert "No space left on device" in refused.stderr
        limit = "/proc/sys/user/max_user_namespaces"
        leader = str(builder.handle.pid)
        outer = ["nsenter", "--target", leader, "--user", "--setuid", "0", "--setgid", "0", "--"]
        assert subprocess.check_output([*outer, "cat", limit], text=True) == "1\n"
        # The control: where the limit is lifted, the same command works.
        lift = f"echo 9 >{limit}"
        subprocess.run([*outer, "sh", "-c", lift], check=True)
        assert builder.inside(*unshare).returncode == 0


def test_a_build_sees_nothing_of_the_host(any_helper: RunningHelper, tmp_path: Path) -> None:
    with running_builder(any_helper, tmp_path / "worker") as builder:
        top = set(builder.inside("ls", "/").stdout.split())
        assert top == {
            *("b", "bin", "dev", "etc", "lib", "lib64", "opt", "proc", "root", "run", "sbin"),
            *("sys", "tmp", "usr", "var"),
        }
        passwd = builder.inside("cat", "/etc/passwd").stdout
        assert [line.split(":")[0] for line in passwd.splitlines()] == ["root", "nobody"]
        programs = {path.name for path in (ENGINE_ROOT / "usr/bin").iterdir()}
        assert set(builder.inside("ls", "/usr/bin").stdout.split()) == programs
        for path in ("/usr/bin/planted", "/etc/planted", "/planted", "/b/planted"):
            refused = builder.inside("touch", path, check=False)
            assert "Read-only file system" in refused.stderr
        assert builder.inside("touch", "/b/owner/planted").returncode == 0
        processes = builder.inside("bash", "-c", "echo /proc/[0-9]*").stdout.split()
        assert len(processes) < 20
        mount = ("busybox", "mount")
        assert builder.inside(*mount, "-o", "remount,bind,rw", "/usr", check=False).returncode != 0
        assert builder.inside(*mount, "-t", "tmpfs", "x", "/b/owner").returncode == 0  # the control


def test_links_in_every_place_that_a_build_can_write_lead_nowhere(
    any_helper: RunningHelper, tmp_path: Path, base: Base
) -> None:
    """Someone who has taken over dockerd replaces everything by links to a folder of the host."""
    target = tmp_path / "target"
    target.mkdir()
    (target / "secret").write_text("untouched")
    target.chmod(0o711)
    before = target.stat()
    dockerfile = f"{base.dockerfile}RUN true\n"
    with running_builder(any_helper, tmp_path / "worker") as builder:
        assert builder.build(dockerfile, context=base.context).succeeded
        plant = (
            "shopt -s dotglob; for each in data/* data/containerd/* /run/* /tmp/*; do "
            f'mv "$each" "$each.moved" && ln -s {target} "$each"; done; '
            f"mkdir extra; ln -s {target} extra/link; busybox umount -l data; mv data old; "
            f"ln -s {target} data; ls -l data"
        )
        planted = builder.inside("bash", "-c", f"cd /b/owner; {plant}")
        assert str(target) in planted.stdout
    folder = any_helper.caches / str(OWNER)
    if folder.exists():
        # The control: whoever follows the path from outside arrives at the target.
        assert (folder / "data/secret").stat().st_ino == (target / "secret").stat().st_ino
    with (
        pytest.raises((AssertionError, OSError)),  # dockerd cannot start
        running_builder(any_helper, tmp_path / "worker"),
    ):
        pass
    wait_for(lambda: not any_helper.client.caches()[0].in_use, "the builder's end")
    any_helper.client.drop(OWNER)
    assert any_helper.client.caches() == []
    assert not folder.exists()
    after = target.stat()
    assert (target / "secret").read_text() == "untouched"
    assert [path.name for path in target.iterdir()] == ["secret"]
    assert (after.st_mode, after.st_uid, after.st_mtime) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime,
    )
    with running_builder(any_helper, tmp_path / "worker") as builder:
        assert builder.build(dockerfile, context=base.context).succeeded


def test_links_planted_while_another_builder_of_the_owner_works_lead_nowhere(
    any_helper: RunningHelper, tmp_path: Path, base: Base
) -> None:
    """One builder swaps its folders for links without a pause; a second starts, builds and ends."""
    target = tmp_path / "target"
    target.mkdir()
    (target / "secret").write_text("untouched")
    target.chmod(0o711)
    before = target.stat()
    dockerfile = f"{base.dockerfile}RUN true\n"
    swap = (
        "cd /b/owner; touch started; while [ ! -e stop ]; do for each in extra data/tmp /tmp/x "
        f'/run/x; do rm -rf "$each"; mkdir -p "$each"; rm -rf "$each"; ln -sfn {target} "$each"; '
        "done; echo swapped >swapped; done"
    )
    with running_builder(any_helper, tmp_path / "first") as first:
        assert first.build(dockerfile, context=base.context).succeeded
        swapping = threading.Thread(target=first.inside, args=["bash", "-c", swap])
        swapping.start()
        try:
            for n in range(3):
                with running_builder(any_helper, tmp_path / f"second{n}", slot=1) as second:
                    assert second.build(dockerfile, context=base.context).succeeded
                any_helper.client.drop(OWNER)  # of what no builder uses
        finally:
            first.inside("bash", "-c", "cat /b/owner/swapped; touch /b/owner/stop")
            swapping.join()
    with running_builder(any_helper, tmp_path / "again") as again:
        assert again.build(dockerfile, context=base.context).succeeded
    after = target.stat()
    assert (target / "secret").read_text() == "untouched"
    assert [path.name for path in target.iterdir()] == ["secret"]
    assert (after.st_mode, after.st_uid, after.st_mtime) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime,
    )


def test_a_cache_cannot_outgrow_its_image_by_files_links_or_inodes(
    helper: RunningHelper, tmp_path: Path, base: Base
) -> None:
    size = 128 * MIB
    fill = (
        "RUN dd if=/dev/zero of=/big bs=1M count=200; echo filled $?; rm /big\n"
        # Space of a file without a name counts as well.
        "RUN exec 3>/gone; rm /gone; dd if=/dev/zero bs=1M count=200 >&3; echo unlinked $?\n"
        "RUN i=0; while mkdir /d$i 2>/dev/null; do i=$((i+1)); done; echo inodes $i\n"
    )
    with running_builder(helper, tmp_path / "worker", cache_bytes=size) as builder:
        empty = builder.handle.usage()
        assert empty.disk_size <= size
        build = builder.build(base.dockerfile + fill, context=base.context)
        assert "filled 1" in build.output
        assert build.output.count("No space left on device") >= 2
        assert "unlinked 1" in build.output
        usage = builder.handle.usage()
        assert usage.inodes_free < empty.inodes_free / 10
    image = helper.caches / f"{OWNER}.img"
    assert image.stat().st_size == size
    assert image.stat().st_blocks * 512 <= size
    # The control: a larger image takes the same file.
    with running_builder(
        helper, tmp_path / "worker", owner=STRANGER, cache_bytes=8 * size
    ) as builder:
        build = builder.build(base.dockerfile + fill.splitlines()[0], context=base.context)
        assert "filled 0" in build.output


def test_what_is_deleted_gives_its_space_back_to_the_host(
    helper: RunningHelper, tmp_path: Path
) -> None:
    image = helper.caches / f"{OWNER}.img"
    with running_builder(helper, tmp_path / "worker") as builder:
        write = "dd if=/dev/urandom of=/b/owner/big bs=1M count=100 && sync -f /b/owner"
        builder.inside("bash", "-c", write)
        assert image.stat().st_blocks * 512 > 100 * MIB
        builder.inside("rm", "/b/owner/big")
        builder.inside("sync", "-f", "/b/owner")
        assert image.stat().st_blocks * 512 > 100 * MIB  # the control
        builder.handle.trim()
        wait_for(lambda: image.stat().st_blocks * 512 < 50 * MIB, "the space")


def test_owners_have_ids_and_budgets_of_their_own(
    helper: RunningHelper, tmp_path: Path, base: Base
) -> None:
    """Inotify instances are counted per user of the kernel."""
    take_all = f"$n++ while syscall({SYSCALLS['inotify_init1']}, 0) >= 0; print qq(took all);"
    take_one = f'print "family ", syscall({SYSCALLS["inotify_init1"]}, 0) >= 0 ? "one" : $!, "\\n";'
    with ExitStack() as stack:
        holder, same, other = (
            stack.enter_context(running_builder(helper, tmp_path / name, owner=owner, slot=slot))
            for name, owner, slot in (("a", OWNER, 0), ("b", OWNER, 1), ("c", STRANGER, 0))
        )
        maps = [
            Path(f"/proc/{builder.handle.pid}/uid_map").read_text().split()
            for builder in (holder, same, other)
        ]
        assert maps[0] == maps[1] != maps[2]
        assert all(first == "0" and count == "65536" for first, _, count in maps)
        hold = f"{base.dockerfile}RUN <<'EOF' perl\n$| = 1; {take_all} sleep 1000;\nEOF\n"
        build = holder.build(hold, context=base.context, wait=False)
        wait_for(lambda: "EMFILE" in probe_inotify(holder), "all instances to be taken")
        assert run_perl(same, base, take_one) == ["family Too many open files"]  # the control
        assert run_perl(other, base, take_one) == ["family one"]
        build.process.kill()
        build.wait()


def probe_inotify(builder: RunningBuilder) -> str:
    code = (
        f"print syscall({SYSCALLS['inotify_init1']}, 0) >= 0 ? 'one' : $!{{EMFILE}} ? 'EMFILE' : $!"
    )
    return builder.inside("perl", "-e", code, check=False).stdout


def test_the_memory_limit_ends_the_greedy_process_and_is_counted(
    helper: RunningHelper, tmp_path: Path, base: Base
) -> None:
    if "memory" not in helper.client.info().limits:
        pytest.skip("no control groups on this machine")
    greedy = (
        f"{base.dockerfile}RUN <<'EOF' perl\n$x = 'x' x (700 << 20); print qq(had it\\n);\nEOF\n"
    )
    small = Limits(memory_bytes=512 * MIB, pids=500, cpus=1.0, disk_bytes=0)
    with running_builder(helper, tmp_path / "worker", limits=small) as builder:
        build = builder.build(greedy, context=base.context)
        assert not build.succeeded
        assert builder.handle.usage().oom_kill > 0
        assert not builder.handle.has_ended()
        builder.handle.set_limits(ROOMY)  # the control
        build = builder.build(greedy, context=base.context)
        assert build.succeeded, build.output


def test_the_limit_on_processes_holds_and_is_counted(
    helper: RunningHelper, tmp_path: Path, base: Base
) -> None:
    if "pids" not in helper.client.info().limits:
        pytest.skip("no control groups on this machine")
    many = f"{base.dockerfile}RUN for i in $(seq 300); do sleep 1 & done; wait; echo all\n"
    small = Limits(memory_bytes=2 << 30, pids=200, cpus=1.0, disk_bytes=0)
    with running_builder(helper, tmp_path / "worker", limits=small) as builder:
        builder.build(many, context=base.context)
        assert builder.handle.usage().pids_max > 0
        builder.handle.set_limits(ROOMY)  # the control
        before = builder.handle.usage().pids_max
        assert builder.build(f"{many}RUN true\n", context=base.context).succeeded
        assert builder.handle.usage().pids_max == before


def test_another_user_cannot_connect(helper: RunningHelper, open_folder: Path) -> None:
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "s.connect(sys.argv[1]); s.send(b'{\"op\": \"info\"}'); print(s.recv(9999) or 'closed')"
    )
    argv = ["/usr/bin/python3", "-c", code, str(helper.socket)]
    stranger = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]

    def ask(prefix: list[str]) -> str:
        finished = subprocess.run([*prefix, *argv], capture_output=True, text=True, check=False)
        return finished.stdout + finished.stderr

    assert "cache_images" in ask([])  # the control
    assert "PermissionError" in ask(stranger)
    # Neither where the folder's mode does not stop it.
    for path in (helper.socket, *helper.socket.parents):
        if path.stat().st_uid == 0 and path != Path("/") and path != Path("/tmp"):
            path.chmod(0o777 if path == helper.socket else 0o755)
    refused = ask(stranger)
    assert "closed" in refused or "ConnectionReset" in refused or "BrokenPipe" in refused


def test_the_service_user_can_lead_root_nowhere(tmp_path: Path) -> None:
    """Its folders are replaced by links before the helper starts."""
    service = 65534
    # Below a folder that the service user cannot enter.
    data_dir, target = tmp_path / "data", tmp_path / "target"
    target.mkdir(mode=0o755)
    data_dir.mkdir()
    os.chown(data_dir, service, service)
    for name in ("helper", "run"):
        (data_dir / name).symlink_to(target)
        with (
            pytest.raises(AssertionError, match="helper ended"),
            running_helper(data_dir, service=service),
        ):
            pass
        assert list(target.iterdir()) == []
        (data_dir / name).unlink()
    shutil.rmtree(data_dir / "helper")
    (data_dir / "helper").mkdir()
    os.chown(data_dir / "helper", service, service)
    with (
        pytest.raises(AssertionError, match="helper ended"),
        running_helper(data_dir, service=service),
    ):
        pass
    (data_dir / "helper").rmdir()
    with running_helper(data_dir, service=service) as helper:  # the control
        assert helper.client.info().root
        assert (data_dir / "helper").stat().st_uid == 0
        assert helper.socket.stat().st_uid == service
        assert helper.socket.parent.stat().st_uid == service


def test_a_folder_of_an_earlier_start_for_root_makes_place(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running_helper(data_dir) as helper:
        helper.process.kill()  # its socket stays
    assert helper.socket.parent.stat().st_uid == 0
    data_dir.chmod(0o1770)
    os.chown(data_dir, 0, 65534)
    with running_helper(data_dir, service=65534) as helper:
        assert helper.socket.stat().st_uid == 65534
        assert helper.client.info().root


def test_two_installations_share_no_ids_and_end_nothing_of_each_other(tmp_path: Path) -> None:
    """The same owner in both, as in a copy of a data directory."""
    with ExitStack() as stack:
        helpers = [stack.enter_context(running_helper(tmp_path / name)) for name in "ab"]
        first, second = (
            stack.enter_context(running_builder(helper, tmp_path / f"worker-{number}"))
            for number, helper in enumerate(helpers)
        )
        owners = {Path(f"/proc/{each.handle.pid}").stat().st_uid for each in (first, second)}
        assert len(owners) == 2
        first.handle.close()
        os.close(helpers[0].lifeline)
        assert helpers[0].process.wait(30) == 0
        assert second.handle.usage()
        assert not second.handle.has_ended()
