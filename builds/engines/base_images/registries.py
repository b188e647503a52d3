"""The operator's rules for registries: which bases are allowed, credentials, private addresses."""

import base64
import binascii
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

from builds.engines.base import EngineBroken
from builds.engines.base_images.addresses import Endpoint, endpoints
from builds.engines.base_images.manifest import NotUsable
from builds.engines.sandbox.settings import EngineSettings

HUB = "docker.io"
HUB_ALIASES = {"index.docker.io", "registry-1.docker.io"}
ANY_DEPTH = "**"
MAX_ALLOWED_SHOWN = 10
PATTERN = re.compile(
    r"\*\*|(?P<host>[A-Za-z0-9.*-]+(?::[0-9*]+)?)(?:/[a-z0-9._*-]+)+(?::[A-Za-z0-9_.*-]+)?",
    re.ASCII,
)


def is_pattern(text: str) -> bool:
    """Whether it is a valid pattern for references. Unless it is `**`, it begins with a host."""
    match = PATTERN.fullmatch(text)
    host = match["host"] if match else None
    return match is not None and (host is None or host == "localhost" or bool({*host} & {*".:*"}))


def matches(pattern: str, reference: str) -> bool:
    """Whether a pattern `host/path[:tag]` matches a reference.

    `*` matches within one part of the path, `**` any number of parts.
    """
    name, tag = split_reference(reference)
    pattern_name, pattern_tag = split_reference(pattern)
    if pattern_tag and not fnmatchcase(tag, pattern_tag):
        return False
    return _parts_match(pattern_name.split("/"), name.split("/"))


def split_reference(reference: str) -> tuple[str, str]:
    """Split into the name (with the host's port) and the digest, tag or an empty string."""
    name, _, digest = reference.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":") if slash else (last, "", "")
    return f"{head}{slash}{last}", digest or tag


def host_of(reference: str) -> str:
    return reference.partition("/")[0]


class RegistryRules:
    """Applies the settings about registries to one reference."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings

    def check_allowed(self, reference: str) -> None:
        """Raise NotUsable if SLIPWAY_ALLOWED_BASES does not allow the reference."""
        allowed = self._settings.allowed_bases
        if not allowed or any(matches(pattern, reference) for pattern in allowed):
            return
        shown = ", ".join(allowed[:MAX_ALLOWED_SHOWN])
        more = ", …" if len(allowed) > MAX_ALLOWED_SHOWN else ""
        raise NotUsable(f"is not among the base images that are allowed here: {shown}{more}")

    def endpoints(self, reference: str) -> frozenset[Endpoint]:
        """The endpoints that a fetch of the reference may connect to at any address.

        A registry that is not configured has none, wherever it redirects to. A registry that is
        only insecure has itself. A registry on a private network also has all other private
        registries, because they may serve its tokens or blobs.
        """
        settings = self._settings
        hosts = self._hosts(reference)
        mirrors = {host_of(mirror) for _, mirror in settings.mirrors}
        private = settings.private_registries | mirrors
        found = hosts & (private | settings.insecure_registries)
        if hosts & private:
            found |= settings.private_registries
        return _all_endpoints(found)

    def own_endpoints(self, reference: str) -> frozenset[Endpoint]:
        """The same for an image of Slipway's own registry."""
        return _all_endpoints({host_of(reference)} | self._settings.own_endpoints)

    def write_credentials(self, reference: str, folder: Path) -> Path | None:
        """Write the credentials for this reference to a file in `folder`. None without any.

        Raises EngineBroken if the operator's credentials file cannot be read.
        """
        source = self._settings.auth_file
        wanted = self._hosts(reference) & self._settings.auth_registries
        if source is None or not wanted:
            return None
        try:
            entries = json.loads(source.read_bytes())["auths"]
            found = {
                host: {"auth": _auth(entry)}
                for name, entry in entries.items()
                if entry and (host := _registry_host(name)) in wanted
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineBroken(
                "The file of SLIPWAY_REGISTRY_AUTH cannot be read.", code="auth"
            ) from error
        if not found:
            return None
        file = folder / "auth.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"auths": found}))
        return file

    def _hosts(self, reference: str) -> set[str]:
        """The registry and its mirrors."""
        name, _ = split_reference(reference)
        return {host_of(reference)} | {
            host_of(mirror)
            for prefix, mirror in self._settings.mirrors
            if name == prefix or name.startswith(f"{prefix}/")
        }


def _all_endpoints(hosts: set[str] | frozenset[str]) -> frozenset[Endpoint]:
    return frozenset(each for host in hosts for each in endpoints(host))


def _parts_match(pattern: list[str], parts: list[str]) -> bool:
    """Dynamic programming: the time is at most the product of both lengths, even with many `**`."""
    reached = [True, *(False for _ in parts)]
    for each in pattern:
        if each == ANY_DEPTH:
            first = reached.index(True) if True in reached else len(reached)
            reached = [at >= first for at in range(len(reached))]
        else:
            reached = [False] + [
                before and fnmatchcase(part, each)
                for before, part in zip(reached, parts, strict=False)
            ]
    return reached[-1]


def _auth(entry: dict[str, str]) -> str:
    if "username" in entry:
        pair = f"{entry['username']}:{entry['password']}".encode()
        return base64.b64encode(pair).decode()
    try:
        base64.b64decode(entry["auth"], validate=True)
    except binascii.Error as error:
        raise ValueError("auth is not base64") from error
    return entry["auth"]


def _registry_host(name: str) -> str:
    host = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if host in HUB_ALIASES else host
