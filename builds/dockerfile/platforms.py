"""Parses and normalises platforms such as `linux/arm64/v8` by the rules of containerd."""

import platform
import re

_PART = re.compile(r"[A-Za-z0-9_-]+")
_SYSTEMS = {
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
    "nacl", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos",
}  # fmt: skip
_MACHINES = {
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mips64",
    "mips64le", "mips64p32", "mips64p32le", "mipsle", "ppc", "ppc64", "ppc64le", "riscv",
    "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
}  # fmt: skip
_ARM64 = {"aarch64", "arm64"}
_AMD64 = {"x86_64", "x86-64", "amd64"}
_OTHER_NAMES = {"i386": ("386", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6")}
_ARM_VARIANTS = {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"}
_PARTS = 3


class NotAPlatform(ValueError):
    """The text is not a platform."""


def this_platform() -> str:
    """The platform of this machine."""
    return "/".join(filter(None, ["linux", *_machine(platform.machine(), "")]))


def normalise(text: str) -> str:
    """Convert any form that BuildKit accepts to `os/arch[/variant]`. Raises NotAPlatform."""
    parts = text.split("/", _PARTS)
    if len(parts) > _PARTS or not all(map(_PART.fullmatch, parts)):
        raise NotAPlatform(text)
    if len(parts) == 1:
        system = _system(parts[0])
        if system in _SYSTEMS:
            return "/".join([system, *this_platform().split("/")[1:]])
        machine, variant = _machine(parts[0], "")
        if machine not in _MACHINES:
            raise NotAPlatform(text)
        return "/".join(filter(None, ["linux", machine, variant]))
    machine, variant = _machine(parts[1], parts[2] if len(parts) == _PARTS else "")
    return "/".join(filter(None, [_system(parts[0]), machine, variant]))


def _system(text: str) -> str:
    return "darwin" if text.lower() == "macos" else text.lower()


def _machine(machine: str, variant: str) -> tuple[str, str]:
    machine, variant = machine.lower(), variant.lower()
    if machine in _OTHER_NAMES:
        return _OTHER_NAMES[machine]
    if machine in _AMD64:
        return "amd64", "" if variant == "v1" else variant
    if machine in _ARM64:
        return "arm64", "" if variant in {"8", "v8"} else variant
    if machine == "arm":
        return "arm", _ARM_VARIANTS.get(variant, variant)
    return machine, variant
