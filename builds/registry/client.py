"""Client of one registry over the distribution API: tags, digests, images."""

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import sleep
from typing import Any
from uuid import uuid4

import httpx

from builds.build_spec import Output
from builds.registry.auth import Credentials, Identity, RegistryAuth, RegistryError
from builds.registry.endpoint import TIMEOUT_SECONDS, TRANSIENT, Endpoint, tls
from builds.registry.push import Manifest, push_layout
from builds.registry.tokens import PULL

RETRY_SECONDS = (0.2, 1.0)
_EMPTY_CONFIG = b"{}"
_REDIRECTS = {301, 302, 303, 307, 308}
_IMAGE = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_DOCKER = "application/vnd.docker.distribution.manifest"
_MANIFESTS = f"{_IMAGE}, {_INDEX}, {_DOCKER}.v2+json, {_DOCKER}.list.v2+json"


class Registry:
    """Client of one registry. Every method raises RegistryError if the registry refuses or fails.

    `repository` never contains the host. Requests are retried after connection errors and transient
    HTTP statuses.
    """

    def __init__(
        self,
        host: str,
        *,
        insecure: bool = False,
        credentials: Mapping[str, Credentials] | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.host = host
        self._endpoint = Endpoint(host, insecure)
        known = credentials or {}
        self._identity = identity
        self._auth = RegistryAuth(known.get(host), identity)
        self._pushing: dict[str, RegistryAuth] = {}
        self.secrets = tuple(each.password for each in known.values())
        """Passwords that must never appear in a log."""

    def ping(self) -> None:
        """Check that the registry responds."""
        self._call("GET", "/v2/", "whether it is there")

    def push(self, layout: Path, *, repository: str, tag: str) -> Generator[Output, None, Manifest]:
        """Push the single image of an OCI layout, see `push_layout`. Raises PushFailed."""
        return push_layout(
            layout,
            endpoint=self._endpoint,
            repository=repository,
            tag=tag,
            auth=self._auth_to_push(repository),
        )

    def wants_our_tokens(self) -> bool:
        """Whether the registry trusts Slipway's tokens."""
        if self._identity is None:
            return False
        if self._auth.met_our_realm:
            return True
        answer = self._call("GET", "/v2/", "whom it trusts", accepted={200, 401}, auth=None)
        return self._identity.is_asked_by(answer)

    def digest_of(self, repository: str, tag: str) -> str | None:
        """The digest (`sha256:…`) that a tag names; None if there is no such tag."""
        answer = self._call(
            "HEAD",
            f"/v2/{repository}/manifests/{tag}",
            f"for {repository}:{tag}",
            accepted={200, 404},
            headers={"Accept": _MANIFESTS},
        )
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        digest: str | None = answer.headers.get("docker-content-digest")
        return digest or _digest(self._manifest(repository, tag).content)

    def manifest(self, repository: str, digest: str) -> bytes:
        """The manifest with this digest."""
        return self._manifest(repository, digest).content

    @contextmanager
    def blob(self, repository: str, digest: str) -> Iterator[Iterator[bytes]]:
        """Stream a blob in chunks. Follows redirects to the registry's storage."""
        path = f"/v2/{repository}/blobs/{digest}"
        # Authenticate with a HEAD request first: RegistryAuth reads whole responses, which would
        # buffer the blob.
        asked = self._call("HEAD", path, f"for {digest}", accepted={200, *_REDIRECTS})
        sent = {"Authorization": asked.request.headers.get("Authorization", "")}
        headers = {name: value for name, value in sent.items() if value}
        url = self._endpoint.url(path)
        try:
            with _client().stream("GET", url, headers=headers, follow_redirects=True) as answer:
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    text = self._endpoint.refusal(answer, f"for {digest}")
                    raise RegistryError(text, status=answer.status_code)
                yield answer.iter_raw()
        except httpx.HTTPError as error:
            raise RegistryError(self._endpoint.unreachable(error)) from error

    def tag(self, repository: str, manifest: Manifest, *, tag: str) -> None:
        """Point `tag` to a pushed image."""
        self._put_manifest(repository, tag, manifest.content, manifest.media_type)

    def tag_digest(self, repository: str, digest: str, *, tag: str) -> None:
        """Point `tag` to an image given by digest."""
        found = self._manifest(repository, digest)
        self._put_manifest(repository, tag, found.content, found.headers["content-type"])

    def delete(self, repository: str, digest: str) -> None:
        """Delete an image with all its tags. Does nothing if it does not exist."""
        self._call(
            "DELETE",
            f"/v2/{repository}/manifests/{digest}",
            f"to delete {repository}@{digest}",
            accepted={202, 404},
        )

    def delete_tag(self, repository: str, tag: str) -> None:
        """Delete one tag, but no other tag of the same image.

        The API deletes by digest only. So the tag is first moved to a unique placeholder image,
        which is then deleted. The caller must make sure that nobody else moves the tag meanwhile.
        """
        if self.digest_of(repository, tag) is None:
            return
        config = _digest(_EMPTY_CONFIG)
        self._put_blob(repository, config, _EMPTY_CONFIG)
        manifest = {
            "schemaVersion": 2,
            "mediaType": _IMAGE,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config,
                "size": len(_EMPTY_CONFIG),
            },
            "layers": [],
            "annotations": {"slipway.removal": uuid4().hex},
        }
        content = json.dumps(manifest).encode()
        self._put_manifest(repository, tag, content, _IMAGE)
        self.delete(repository, _digest(content))

    def tags(self, repository: str) -> list[str]:
        """All tags, sorted; empty if the repository does not exist."""
        found: list[str] = []
        path: str | None = f"/v2/{repository}/tags/list?n=1000"
        while path:
            answer = self._call("GET", path, f"for the tags of {repository}", accepted={200, 404})
            if answer.status_code == httpx.codes.NOT_FOUND:
                break
            found += answer.json()["tags"] or []
            following = answer.links.get("next", {}).get("url")
            # Use only the path: the host in the link is ignored.
            path = httpx.URL(path).join(following).raw_path.decode() if following else None
        return sorted(found)

    def token_to_pull(self, repositories: Iterable[str], *, seconds: int) -> str:
        """A token to pull those of the repositories that the identity may pull. Empty if the
        registry does not use Slipway's tokens."""
        if self._identity is None or not self.wants_our_tokens():
            return ""
        return self._identity.token({each: [PULL] for each in repositories}, seconds=seconds)

    def _auth_to_push(self, repository: str) -> RegistryAuth:
        """One instance per repository, so that the registry sends only one challenge."""
        return self._pushing.setdefault(repository, self._auth.to_push(repository))

    def _manifest(self, repository: str, reference: str) -> httpx.Response:
        return self._call(
            "GET",
            f"/v2/{repository}/manifests/{reference}",
            f"for {repository} {reference}",
            headers={"Accept": _MANIFESTS},
        )

    def _put_manifest(self, repository: str, tag: str, content: bytes, kind: str) -> None:
        self._call(
            "PUT",
            f"/v2/{repository}/manifests/{tag}",
            f"to tag {repository}:{tag}",
            accepted={201},
            auth=self._auth_to_push(repository),
            headers={"Content-Type": kind},
            content=content,
        )

    def _put_blob(self, repository: str, digest: str, content: bytes) -> None:
        begun = self._call(
            "POST", f"/v2/{repository}/blobs/uploads/", f"to upload to {repository}", accepted={202}
        )
        place = begun.url.join(begun.headers["location"]).copy_merge_params({"digest": digest})
        self._call(
            "PUT",
            place.raw_path.decode(),
            f"to upload to {repository}",
            accepted={201},
            headers={"Content-Type": "application/octet-stream"},
            content=content,
        )

    def _call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        accepted: set[int] | None = None,
        **request: Any,
    ) -> httpx.Response:
        request.setdefault("auth", self._auth)
        for wait in (*RETRY_SECONDS, None):
            try:
                answer = _client().request(method, self._endpoint.url(path), **request)
            except httpx.HTTPError as error:
                problem = self._endpoint.unreachable(error)
            else:
                if answer.status_code in (accepted or {200}):
                    return answer
                problem = self._endpoint.refusal(answer, what)
                if answer.status_code not in TRANSIENT:
                    raise RegistryError(problem, status=answer.status_code)
            if wait is None:
                break
            sleep(wait)
        raise RegistryError(problem)


@cache
def _client() -> httpx.Client:
    # No keep-alive: a build makes only a few requests, and idle sockets would have to be closed.
    return httpx.Client(
        verify=tls(),
        timeout=TIMEOUT_SECONDS,
        limits=httpx.Limits(max_keepalive_connections=0),
        trust_env=False,
    )


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
