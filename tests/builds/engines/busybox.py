"""A layer with a static busybox and its commands, of the engine root's."""

import gzip
import hashlib
import io
import tarfile
from functools import cache

from builds.engine_root import BUSYBOX
from builds.process import run
from tests.engine_root import ENGINE_ROOT


@cache
def busybox_layer() -> tuple[bytes, str]:
    """The gzipped layer and the digest of what it unpacks to."""
    program = ENGINE_ROOT.find() / BUSYBOX
    names = run([program, "--list"], deadline=10).stdout.decode().split()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("tmp", 0o1777), ("etc", 0o755), ("root", 0o700)):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, mode
            tar.addfile(member)
        member = tarfile.TarInfo("bin/busybox")
        member.mode, member.size = 0o755, program.stat().st_size
        with program.open("rb") as file:
            tar.addfile(member, file)
        for name in names:
            if name != "busybox":
                member = tarfile.TarInfo(f"bin/{name}")
                member.type, member.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(member)
    data = archive.getvalue()
    return gzip.compress(data, 1, mtime=0), f"sha256:{hashlib.sha256(data).hexdigest()}"
