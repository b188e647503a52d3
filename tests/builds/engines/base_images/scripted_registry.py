"""A registry in Python that serves images made in the test, and can be told to misbehave."""

import gzip
import hashlib
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

Handler = Callable[[BaseHTTPRequestHandler], None]
Descriptor = dict[str, Any]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar(**files: bytes) -> bytes:
    """A layer; `_` in a name stands for a slash."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("_", "/"))
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass
class ScriptedRegistry:
    """What it serves: blobs and manifests by digest, tags, and handlers by path before all."""

    address: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """By tag and by digest: media type and content."""
    handlers: dict[str, Handler] = field(default_factory=dict)
    """By the path's end."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each, in order."""
    headers: list[dict[str, str]] = field(default_factory=list)

    def reference(self, tag: str = "1", *, host: str = "127.0.0.1") -> str:
        port = self.address.partition(":")[2]
        separator = "@" if tag.startswith("sha256:") else ":"
        return f"{host}:{port}/team/base{separator}{tag}"

    def blob(self, kind: str, data: bytes) -> Descriptor:
        self.blobs[digest_of(data)] = data
        return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}

    def put(self, kind: str, value: Any, tag: str = "") -> Descriptor:
        data = value if isinstance(value, bytes) else dump(value)
        digest = digest_of(data)
        self.manifests[digest] = (kind, data)
        if tag:
            self.manifests[tag] = (kind, data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def image(
        self,
        tag: str = "1",
        *,
        layers: list[bytes] | None = None,
        docker: bool = False,
        compressed: bool = True,
        config: dict[str, Any] | None = None,
        change: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> Descriptor:
        """An image of these layers, given as tars; `change` spoils its manifest."""
        layers = [tar(hello=b"hello")] if layers is None else layers
        about = {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        }
        about.update(config or {})
        layer_kind = DOCKER_LAYER if docker else OCI_LAYER
        if not compressed:
            layer_kind = layer_kind.removesuffix("+gzip").removesuffix(".gzip")
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": self.blob(DOCKER_CONFIG if docker else OCI_CONFIG, dump(about)),
            "layers": [
                self.blob(layer_kind, gzip.compress(each, mtime=0) if compressed else each)
                for each in layers
            ],
        }
        change(manifest)
        return self.put(str(manifest["mediaType"]), manifest, tag)

    def index(self, tag: str, entries: list[tuple[Descriptor, str]]) -> Descriptor:
        manifests = []
        for descriptor, platform in entries:
            names = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
            manifests.append({**descriptor, "platform": names} if platform else descriptor)
        value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        return self.put(OCI_INDEX, value, tag)

    def fetched(self, kind: str = "blobs") -> list[str]:
        """What was asked for with GET, by the path's last part."""
        paths = [each.partition(" ")[2] for each in self.requests if each.startswith("GET ")]
        return [path.rpartition("/")[2] for path in paths if f"/{kind}/" in path]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(f"{request.command} {request.path}")
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        path = request.path.partition("?")[0]
        for end, handler in self.handlers.items():
            if path.endswith(end):
                handler(request)
                return
        name = path.rpartition("/")[2]
        if path == "/v2/":
            send(request, b"{}")
        elif "/manifests/" in path and name in self.manifests:
            kind, data = self.manifests[name]
            send(request, data, kind=kind, digest=digest_of(data))
        elif "/blobs/" in path and name in self.blobs:
            send(request, self.blobs[name])
        else:
            code = "MANIFEST_UNKNOWN" if "/manifests/" in path else "BLOB_UNKNOWN"
            text = "manifest unknown" if "/manifests/" in path else "blob unknown"
            send(request, dump({"errors": [{"code": code, "message": text}]}), status=404)


def send(
    request: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    kind: str = "application/json",
    digest: str = "",
    headers: dict[str, str] | None = None,
) -> None:
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.send_header("Docker-Distribution-Api-Version", "registry/2.0")
    if digest:
        request.send_header("Docker-Content-Digest", digest)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def redirect(url: str) -> Handler:
    return lambda request: send(request, b"", status=307, headers={"Location": url})


@contextmanager
def scripted_registry(tls: ssl.SSLContext | None = None) -> Iterator[ScriptedRegistry]:
    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            registry.answer(self)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # clients that hang up are part of the tests

    with Server(("127.0.0.1", 0), Answering) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.daemon_threads = True
        registry = ScriptedRegistry(f"127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
