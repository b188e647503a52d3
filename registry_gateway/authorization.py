"""What a request to the started registry asks for, and whether it may have that at this moment."""

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
"""Status and what is to be said in JSON."""


class Head(NamedTuple):
    """The beginning of a request."""

    method: str
    path: str
    lines: list[bytes]
    """As they came: the request and its headers."""
    token: str
    """The one bearer token, or empty."""

    @classmethod
    def parse(cls, data: bytes) -> "Head | None":
        """None for what two readers could read in two ways."""
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
        """As the registry is to see it: the only request on its connection."""
        dropped = (b"connection:",) if token else (b"connection:", b"authorization:")
        kept = [each for each in self.lines if not each.lower().startswith(dropped)]
        return b"\r\n".join([*kept, b"Connection: close"]) + END


def judge(head: Head, signer: Signer) -> bytes | Answer:
    """What the registry is to be told, or the answer in its place.

    The registry itself checks tokens and their scopes, and sends for new ones; but a token opens a
    whole repository for a while, and an image in it may have turned private since, or have been
    private all along.
    """
    subject = signer.subject_of(head.token) if head.token else None
    if subject is None:
        # What we cannot read, the registry shall not see.
        return head.told(token=False)
    if subject == WORKER or head.method not in READS or head.path == "/v2/":
        # Only workers' tokens open more than reading.
        return head.told(token=True)
    asked = PATH.fullmatch(head.path)
    puller = Puller.named(subject)
    if asked is None or puller is None or not puller.sees(asked["repository"], asked["reference"]):
        return refusal(
            HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "no such image, or not yours to see"
        )
    if asked["tags"]:
        # The registry's own list names what is hidden, too.
        tags = puller.tags(asked["repository"])
        return HTTPStatus.OK, {"name": asked["repository"], "tags": tags}
    return head.told(token=True)


def refusal(status: HTTPStatus, code: str, message: str) -> Answer:
    """In the form of registries."""
    return status, {"errors": [{"code": code, "message": message}]}
