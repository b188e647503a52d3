"""`RUN --mount=…`: only options that stay inside the build, put into one plain order.

Bind mounts whose source led out and cache mounts whose id did were ways to the host's files.
"""

import re
from collections.abc import Callable, Mapping

_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "readonly": "ro",
    "readwrite": "rw",
}
_OPTIONS = {
    "bind": {"target", "source", "from", "ro", "rw"},
    "cache": {"target", "source", "from", "ro", "rw", "id", "sharing", "mode", "uid", "gid"},
    "tmpfs": {"target"},  # the engine does not know `size`
}
_SWITCHES = {"ro", "rw"}
_NOTHING_TO_GIVE = {
    "secret": "a build gets no secrets: pass what is not secret as a build argument",
    "ssh": "a build gets no SSH agent: fetch over https, or put the files into the build context",
}
# Nothing that a builder would expand, unquote or cut at once more.
_PLAIN = re.compile(r"""[^\s"'\\,`$\x00-\x1f\x7f]*""")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


class MountRefused(ValueError):
    """The mount is not one that a build may have; half a sentence and what to do instead."""


def check_mount(value: str, *, expand: Callable[[str], str], resolve: Callable[[str], str]) -> str:
    """The mount in plain words: no variables, known options once each, the type first.

    `resolve` turns what `from` names (a stage, an image) into what the engine is to be told.
    """
    options = _read(value, expand)
    kind = options.pop("type", "bind")
    _check(kind, options)
    if "from" in options:
        options["from"] = resolve(options["from"])
    fields = [
        key if key in _SWITCHES and not text else f"{key}={text}" for key, text in options.items()
    ]
    return ",".join([f"type={kind}", *fields])


def _read(value: str, expand: Callable[[str], str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for field in value.split(","):
        key, _, text = field.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        text = expand(text)
        if key in options:
            raise MountRefused(f"{key} is given twice: give it once")
        if not _PLAIN.fullmatch(text):
            raise MountRefused(f"{key} has characters that a mount cannot hold: use plain ones")
        options[key] = text
    return options


def _check(kind: str, options: Mapping[str, str]) -> None:
    if kind in _NOTHING_TO_GIVE:
        raise MountRefused(_NOTHING_TO_GIVE[kind])
    if kind not in _OPTIONS:
        raise MountRefused(f"type={kind} is not known: use bind, cache or tmpfs")
    if unknown := sorted(options.keys() - _OPTIONS[kind]):
        raise MountRefused(f"{unknown[0]!r} is not an option of type={kind}: leave it out")
    for key in ("source", "target"):
        if ".." in options.get(key, "").split("/"):
            raise MountRefused(f"{key} leads out through '..': name a place inside")
    if not options.get("target"):
        raise MountRefused("there is no target: say where the mount is to appear")
    if "id" in options and not _ID.fullmatch(options["id"]):
        raise MountRefused("id may hold letters, digits, '.', '_' and '-' only: choose a plain one")
