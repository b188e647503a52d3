"""Parses requests to the started registry, and decides whether they are allowed now."""

import re
from http import HTTPStatus
from typing import NamedTuple

from builds.registry.tokens import WORKER, Signer
from common.repository_grammar import REPOSITORY
from registry_gateway.pull_access import Puller

READS = ("GET", "HEAD")
END = b"\r\n\r\n"
PATH = re.compile(
    rf"/v2/(?P<repository>{REPOSITORY.pattern})/"
    r"(?:manifests/(?P<reference>[A-Za-z0-9_.:-]+)|blobs/sha256:[0-9a-f]{64}|(?P<tags>tags/list))"
)
Answer = tuple[HTTPStatus, object]
"""Status, and the body as a JSON value."""


class Head(NamedTuple):
    """The request line and headers of a request."""

    method: str
    path: str
    lines: list[bytes]
    """The request line and header lines as received."""
    token: str
    """The bearer token. Empty if there is not exactly one."""

    @classmethod
    def parse(cls, data: bytes) -> "Head | None":
        """Parse a request's head. None if two parsers could understand it differently."""
        line, *headers = lines = data.removesuffix(END).split(b"\r\n")
        if any(b"\n" in each or b"\r" in each or each[:1] in b" \t" for each in lines):
            return None
        try:
            method, target, version = line.decode("ascii").split(" ")
        except ValueError:
            return None
        if version not in {"HTTP/1.1", "HTTP/1.0"}:
            return None
        given = [each for each in headers if each.lower().startswith(b"authorization:")]
        scheme, _, token = b"".join(given)[len("authorization:") :].strip().partition(b" ")
        bearer = len(given) == 1 and scheme.lower() == b"bearer"
        return cls(
            method, target.partition("?")[0], lines, token.decode("latin1") if bearer else ""
        )

    def told(self, *, token: bool) -> bytes:
        """The head to send to the registry, with `Connection: close`, with or without the token."""
        dropped = (b"connection:",) if token else (b"connection:", b"authorization:")
        kept = [each for each in self.lines if not each.lower().startswith(dropped)]
        return b"\r\n".join([*kept, b"Connection: close"]) + END


def judge(head: Head, signer: Signer) -> bytes | Answer:
    """Decide about a request: return the head to send to the registry, or our own answer.

    The registry itself checks tokens and their scopes, and asks clients to get new ones. But a
    token is valid for a whole repository and some time, and an image in it may be private, or may
    have become private since.
    """
    subject = signer.subject_of(head.token) if head.token else None
    if subject is None:
        # The registry must not see a token that we cannot verify.
        return head.told(token=False)
    if subject == WORKER or head.method not in READS or head.path == "/v2/":
        # Only workers' tokens allow more than reading, which the registry checks.
        return head.told(token=True)
    asked = PATH.fullmatch(head.path)
    puller = Puller.named(subject)
    if asked is None or puller is None or not puller.sees(asked["repository"], asked["reference"]):
        return refusal(
            HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "no such image, or not yours to see"
        )
    if asked["tags"]:
        # The registry's own list also has hidden images.
        tags = puller.tags(asked["repository"])
        return HTTPStatus.OK, {"name": asked["repository"], "tags": tags}
    return head.told(token=True)


def refusal(status: HTTPStatus, code: str, message: str) -> Answer:
    """An error in the format of the registry API."""
    return status, {"errors": [{"code": code, "message": message}]}
