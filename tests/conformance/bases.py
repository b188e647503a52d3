"""The base images of the suite, as OCI layouts: made here, so that no test needs the internet."""

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builds.process import run

MADE = 1_500_000_000
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
app:x:1000:1001:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""
GROUP = "root:x:0:\ndaemon:x:1:\napp:x:1001:\nstaff:x:50:app\nnobody:x:65534:\n"
FULL_CONFIG: dict[str, Any] = {
    "Env": [PATH, "FROM_BASE=base", "OTHER=kept"],
    "Entrypoint": ["/bin/echo"],
    "Cmd": ["from-base"],
    "User": "app",
    "WorkingDir": "/srv",
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": {"/data": {}},
    "Labels": {"from.base": "yes", "changed": "base"},
    "StopSignal": "SIGUSR1",
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000},
}
ONBUILD_CONFIG: dict[str, Any] = {
    "Env": [PATH],
    "WorkingDir": "/app",
    "OnBuild": ["COPY a.txt /app/", "RUN cat /app/a.txt > /app/copied", "ENV TRIGGERED=yes"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A base image: its name on Docker Hub, and what it holds."""

    name: str
    """`repository:tag`, with `library/` for official ones."""
    layers: tuple[bytes, ...]
    """Uncompressed tar archives, lowest first."""
    config: dict[str, Any] = field(default_factory=lambda: {"Env": [PATH], "Cmd": ["sh"]})
    architecture: str = "amd64"


def base_images(engine_root: Path) -> list[BaseImage]:
    """Every base that cases name. Programs come from the engine root."""
    busybox = _busybox(engine_root)
    lower = _tar(
        {"d/": 0o755, "d/old": "old\n", "d/kept": "kept\n", "swap/": 0o755, "swap/in": "x\n"}
    )
    upper = _tar({"d/.wh.old": "", "d/new": "new\n", ".wh.swap": ""})
    return [
        BaseImage(name="library/busybox:latest", layers=(busybox,)),
        BaseImage(name="test/bash:1", layers=(busybox, _program(engine_root, "usr/bin/bash"))),
        BaseImage(name="test/setcap:1", layers=(busybox, _program(engine_root, "usr/sbin/setcap"))),
        BaseImage(name="test/full:1", layers=(busybox,), config=FULL_CONFIG),
        BaseImage(name="test/onbuild:1", layers=(busybox,), config=ONBUILD_CONFIG),
        BaseImage(name="test/whiteouts:1", layers=(busybox, lower, upper)),
        BaseImage(name="test/arm:1", layers=(_tar({"arm": "arm\n"}),), architecture="arm64"),
        BaseImage(name="test/files:1", layers=(_tar({"f": "from files\n", "sub/g": "g\n"}),)),
    ]


def write_layout(image: BaseImage, folder: Path) -> None:
    """Write the image as an OCI layout with the tag as its reference name."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{media}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    config = {
        "architecture": image.architecture,
        "os": "linux",
        "config": image.config,
        "created": "2017-07-14T02:40:00Z",
        "rootfs": {
            "type": "layers",
            "diff_ids": ["sha256:" + hashlib.sha256(each).hexdigest() for each in image.layers],
        },
        "history": [
            {"created_by": "base", "created": "2017-07-14T02:40:00Z"} for _ in image.layers
        ],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(json.dumps(config).encode(), "config.v1+json"),
        "layers": [put(gzip.compress(each, mtime=0), "layer.v1.tar+gzip") for each in image.layers],
    }
    top = put(json.dumps(manifest).encode(), "manifest.v1+json")
    top["annotations"] = {"org.opencontainers.image.ref.name": image.name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "manifests": [top]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _busybox(engine_root: Path) -> bytes:
    program = engine_root / "usr/bin/busybox"
    applets = run([program, "--list"], deadline=10).stdout.decode().split()
    return _tar(
        {"bin/": 0o755, "bin/busybox": (program.read_bytes(), 0o755)}
        | {f"bin/{name}": ("link", "busybox") for name in applets if name != "busybox"}
        | {"etc/passwd": PASSWD, "etc/group": GROUP}
        | {"dev/": 0o755, "proc/": 0o755, "sys/": 0o755}
        | {"root/": 0o700, "tmp/": 0o1777, "home/": 0o755, "srv/": 0o755, "var/tmp/": 0o1777}
    )


def _program(engine_root: Path, path: str) -> bytes:
    """A program as /bin/<name>, with the libraries that its loader names."""
    program = engine_root / path
    loader = engine_root / "usr/lib64/ld-linux-x86-64.so.2"
    paths = str(engine_root / "usr/lib/x86_64-linux-gnu")
    listed = run([loader, "--library-path", paths, "--list", program], deadline=10).stdout.decode()
    libraries = [Path(each) for each in re.findall(r"=> (\S+\.so\S*)", listed)]
    return _tar(
        {f"bin/{program.name}": (program.read_bytes(), 0o755)}
        | {"lib64/ld-linux-x86-64.so.2": (loader.read_bytes(), 0o755)}
        | {f"lib/{each.name}": (each.read_bytes(), 0o755) for each in libraries}
    )


Member = str | int | tuple[bytes, int] | tuple[str, str]


def _tar(members: Mapping[str, Any]) -> bytes:
    """Names that end in "/" are folders with their mode; others have content, with or without a
    mode, or are links."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, member in members.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mtime = MADE
            content = b""
            if isinstance(member, int):
                info.type, info.mode = tarfile.DIRTYPE, member
            elif isinstance(member, str):
                content, info.mode = member.encode(), 0o644
            elif member[0] == "link":
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, member[1], 0o777
            else:
                content, info.mode = member
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()
