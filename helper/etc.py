"""Writes the /etc of a builder sandbox. Of the host's /etc it has only the CA certificates."""

import json
from pathlib import Path

HOSTNAME = "build"
BUNDLE = "ssl/certs/ca-certificates.crt"
CONTAINERD = """\
version = 2
root = "/b/owner/data/containerd/daemon"
state = "/run/exec/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd.sock"
"""
FILES = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    # The second namespace gets the ids of the first, except root, which is already mapped.
    "subuid": "root:1:65535\n",
    "subgid": "root:1:65535\n",
    "hostname": f"{HOSTNAME}\n",
    "hosts": f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost\n",
    "nsswitch.conf": "hosts: files dns\n",
    "resolv.conf": "nameserver 10.0.2.3\n",
    "containerd/config.toml": CONTAINERD,
    "docker/daemon.json": json.dumps({"features": {"containerd-snapshotter": True}}),
}


def write_etc(folder: Path, engine_root: Path) -> None:
    """Write all files, and the CA certificates of the host or of the engine root."""
    for name, text in FILES.items():
        _write(folder / name, text.encode())
    _write(folder / BUNDLE, ca_bundle(Path("/etc"), engine_root))


def ca_bundle(host_etc: Path, engine_root: Path) -> bytes:
    """The host's bundle, which operators can extend, else all certificates of the engine root."""
    try:
        return (host_etc / BUNDLE).read_bytes()
    except OSError:
        found = sorted((engine_root / "usr/share/ca-certificates").rglob("*.crt"))
        return b"".join(file.read_bytes() for file in found)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    path.write_bytes(data)
    path.chmod(0o644)
