"""The /etc behind the wall, and the registries' settings for the pulls beside it."""

import json
from pathlib import Path

from builds.engines.sandbox.seccomp import program
from builds.engines.sandbox.settings import EngineSettings

FILTER = "seccomp.bpf"
ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]

BEHIND = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    # The second namespace gets the ids of the first, which root's are already among.
    "subuid": "root:1:65535\n",
    "subgid": "root:1:65535\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "hosts: files dns\n",
    "resolv.conf": "nameserver 10.0.2.3\n",
    "ssl/certs/ca-certificates.crt": "",
    "containers/policy.json": json.dumps(
        # A fully cached build reads its base through this transport; nothing else is ever read.
        {"default": REJECT, "transports": {"containers-storage": {"": ACCEPT}}}
    ),
    "containers/registries.conf": 'unqualified-search-registries = ["docker.io"]\n'
    'short-name-mode = "disabled"\n',
}


def write_etc(folder: Path, settings: EngineSettings) -> tuple[Path, Path]:
    """Write both below `folder`; return the one behind the wall and the one beside it."""
    behind, beside = folder / "behind", folder / "beside"
    for name, text in BEHIND.items():
        _write(behind / name, text.encode())
    _write(behind / FILTER, program())
    sources = {"docker": {"": ACCEPT}, "containers-storage": {"": ACCEPT}}
    _write(beside / "policy.json", json.dumps({"default": REJECT, "transports": sources}).encode())
    _write(beside / "registries.conf", _registries(settings).encode())
    return behind, beside


def _write(path: Path, data: bytes) -> None:
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.chmod(0o644)
    new.replace(path)


def _registries(settings: EngineSettings) -> str:
    mirrors = dict(settings.mirrors)
    blocks = ['unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n']
    for host in sorted(settings.insecure_registries | mirrors.keys()):
        blocks.append(
            f"[[registry]]\nprefix = {json.dumps(host)}\nlocation = {json.dumps(host)}\n"
            f"insecure = {json.dumps(host in settings.insecure_registries)}\n"
        )
        if host in mirrors:
            insecure = mirrors[host].split("/")[0] in settings.insecure_registries
            blocks.append(
                f"[[registry.mirror]]\nlocation = {json.dumps(mirrors[host])}\n"
                f"insecure = {json.dumps(insecure)}\n"
            )
    return "\n".join(blocks)
