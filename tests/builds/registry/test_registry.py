"""What the worker does with a registry, against a real one and against one that misbehaves."""

import base64
import gzip
import hashlib
import json
import os
import random
import re
import threading
import time
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from builds.build_spec import Output
from builds.process import start
from builds.registry import (
    Manifest,
    PushFailed,
    Registry,
    RegistryError,
    client,
    make_registry,
    push,
)
from builds.registry.auth import AuthFileError, Credentials, RegistryAuth, read_credentials
from tests.registry import CONFIG, free_port, running_registry, tags_of

make = partial(Registry, insecure=True)

PASSWORD = "correct-horse"
# bcrypt of PASSWORD, of the lowest cost.
HTPASSWD = "worker:$2b$04$abcdefghijklmnopqrstuuPoaPXzWjiVz4HaNq2LJXksWbO79E.S6\n"
OCI = "application/vnd.oci.image"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture
def registry(host: str) -> Registry:
    return make(host)


@pytest.fixture
def repository() -> str:
    return f"owner/{uuid4().hex}"


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(client, "RETRY_SECONDS", (0.01, 0.01))


def make_layout(
    folder: Path, *, layer: bytes = b"layer", label: str = "", layers: list[bytes] | None = None
) -> tuple[Path, str]:
    """A tiny OCI layout with one image, and the digest of its manifest."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes) -> dict[str, Any]:
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {"digest": f"sha256:{name}", "size": len(content)}

    contents = [layer] if layers is None else layers
    diff_ids = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in contents]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {"x": label}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": {"mediaType": f"{OCI}.config.v1+json", **blob(json.dumps(config).encode())},
        "layers": [
            {"mediaType": f"{OCI}.layer.v1.tar+gzip", **blob(gzip.compress(each, 1, mtime=0))}
            for each in contents
        ],
    }
    described = blob(json.dumps(manifest).encode())
    index = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": f"{OCI}.manifest.v1+json", **described}],
    }
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder, described["digest"]


@pytest.fixture
def layout(tmp_path: Path) -> tuple[Path, str]:
    return make_layout(tmp_path / "layout")


def parts_of(manifest: Manifest) -> list[dict[str, Any]]:
    content = json.loads(manifest.content)
    return [content["config"], *content["layers"]]


def pushed(registry: Registry, layout: Path, repository: str, tag: str = "1") -> bytes:
    return push_to_the_end(registry, layout, repository, tag)[0]


def push_to_the_end(
    registry: Registry, layout: Path, repository: str, tag: str = "1"
) -> tuple[bytes, Manifest]:
    """What the push said, and what it returned."""
    said = b""
    pushing = registry.push(layout, repository=repository, tag=tag)
    while True:
        try:
            said += next(pushing)[1]
        except StopIteration as end:
            return said, end.value


# Against a real registry.


def test_an_image_is_pushed_with_its_digest_unchanged(
    registry: Registry, repository: str, layout: tuple[Path, str]
) -> None:
    folder, digest = layout
    said, manifest = push_to_the_end(registry, folder, repository)
    assert manifest.digest == digest
    assert registry.digest_of(repository, "1") == digest
    config, layer = (part["digest"] for part in parts_of(manifest))
    assert sorted(re.findall(rb"^Pushed (\S+) \(\d+ bytes\)$", said, re.MULTILINE)) == sorted(
        [config.encode(), layer.encode()]
    )
    for part in parts_of(manifest):
        stored = httpx.get(f"http://{registry.host}/v2/{repository}/blobs/{part['digest']}")
        assert len(stored.content) == part["size"]


def test_what_is_there_already_is_not_sent_again(
    registry: Registry, repository: str, tmp_path: Path
) -> None:
    first, _ = make_layout(tmp_path / "first", label="1")
    second, second_digest = make_layout(tmp_path / "second", label="2")
    pushed(registry, first, repository)
    said, manifest = push_to_the_end(registry, second, repository, "2")
    config, layer = (part["digest"].encode() for part in parts_of(manifest))
    assert config in said
    assert layer not in said
    assert registry.digest_of(repository, "2") == second_digest


def test_a_large_layer_arrives_whole_and_is_not_held_in_memory(
    registry: Registry, repository: str, tmp_path: Path
) -> None:
    layer = random.Random(1).randbytes(48 << 20)
    folder, digest = make_layout(tmp_path / "layout", layer=layer)
    del layer
    tracemalloc.start()
    try:
        pushed(registry, folder, repository)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert registry.digest_of(repository, "1") == digest
    assert peak < 16 << 20


def test_an_image_of_many_layers_is_pushed(
    registry: Registry, repository: str, tmp_path: Path
) -> None:
    folder, digest = make_layout(tmp_path / "layout", layers=[b"%d" % n for n in range(130)])
    pushed(registry, folder, repository)
    assert registry.digest_of(repository, "1") == digest


def test_an_image_without_layers_and_one_with_the_same_twice_are_pushed(
    registry: Registry, repository: str, tmp_path: Path
) -> None:
    for name, layers in (("none", []), ("twice", [b"same", b"same"])):
        folder, digest = make_layout(tmp_path / name, layers=layers)
        pushed(registry, folder, repository, name)
        assert registry.digest_of(repository, name) == digest


def test_a_tag_that_does_not_exist_has_no_digest(registry: Registry, repository: str) -> None:
    assert registry.digest_of(repository, "1") is None
    assert tags_of(registry, repository) == []


def test_a_tag_moves_to_a_digest_and_on_to_another(
    registry: Registry, repository: str, tmp_path: Path
) -> None:
    first, first_digest = make_layout(tmp_path / "first", label="1")
    second, second_digest = make_layout(tmp_path / "second", label="2")
    _, first_manifest = push_to_the_end(registry, first, repository, "attempt-1")
    _, second_manifest = push_to_the_end(registry, second, repository, "attempt-2")
    registry.tag(repository, first_manifest, tag="latest")
    assert registry.digest_of(repository, "latest") == first_digest
    registry.tag(repository, second_manifest, tag="latest")
    assert registry.digest_of(repository, "latest") == second_digest
    assert registry.digest_of(repository, "attempt-1") == first_digest
    assert tags_of(registry, repository) == ["attempt-1", "attempt-2", "latest"]


def test_a_tag_does_not_move_to_what_is_not_there(
    registry: Registry, repository: str, layout: tuple[Path, str]
) -> None:
    _, manifest = push_to_the_end(registry, layout[0], repository)
    other = f"other/{uuid4().hex}"
    with pytest.raises(RegistryError, match="answered 4"):
        registry.tag(other, manifest, tag="latest")
    assert registry.digest_of(other, "latest") is None


def test_deleting_a_digest_takes_all_its_tags_and_no_others(
    registry: Registry, repository: str, tmp_path: Path
) -> None:
    """Two images with the same layer, of which one goes."""
    first, first_digest = make_layout(tmp_path / "first", label="1")
    second, second_digest = make_layout(tmp_path / "second", label="2")
    pushed(registry, first, repository, "a")
    pushed(registry, first, repository, "b")
    pushed(registry, second, repository, "c")
    registry.delete(repository, first_digest)
    assert registry.digest_of(repository, "a") is None
    assert registry.digest_of(repository, "b") is None
    assert registry.digest_of(repository, "c") == second_digest
    registry.delete(repository, first_digest)  # a second time is fine


def test_a_registry_that_is_there_answers_a_ping(registry: Registry) -> None:
    registry.ping()


def test_closing_a_push_ends_it_at_once(layout: tuple[Path, str], repository: str) -> None:
    with silent_registry() as host, pushing_to(host, layout[0], repository) as pushing:
        next(pushing)
        port = int(host.rpartition(":")[2])
        assert connections_to(port)
        pushing.close()
        assert not connections_to(port)


def test_closing_a_push_ends_it_in_the_middle_of_a_layer(tmp_path: Path, repository: str) -> None:
    folder, _ = make_layout(tmp_path / "layout", layer=os.urandom(32 << 20))
    received = threading.Event()

    def answer(asked: Asked) -> None:
        if asked.command == "HEAD":
            asked.say(404)
        elif asked.command == "POST":
            asked.say(202, Location="/upload")
        else:
            asked.rfile.read(1)
            received.set()  # and reads no more
            over.wait(20)

    over = threading.Event()
    with http_server(answer) as host, pushing_to(host, folder, repository) as pushing:
        try:
            while not received.is_set():
                next(pushing)
            pushing.close()
            assert not connections_to(int(host.rpartition(":")[2]))
        finally:
            over.set()


def test_a_push_ticks_while_nothing_moves(layout: tuple[Path, str], repository: str) -> None:
    with silent_registry() as host, pushing_to(host, layout[0], repository) as pushing:
        began = time.monotonic()
        while time.monotonic() - began < 1:
            asked = time.monotonic()
            next(pushing)
            assert time.monotonic() - asked < 0.6


def pushing_to(
    host: str, layout: Path, repository: str
) -> "closing[Generator[Output, None, None]]":
    registry = make(host)
    return closing(registry.push(layout, repository=repository, tag="1"))


@contextmanager
def silent_registry() -> Iterator[str]:
    """Takes connections and never answers."""
    over = threading.Event()

    def answer(asked: Asked) -> None:
        over.wait(20)

    with http_server(answer) as host:
        try:
            yield host
        finally:
            over.set()


def connections_to(port: int) -> list[str]:
    """The descriptors of this process that are connected to that port."""
    inodes = {
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if int(fields[2].rpartition(":")[2], 16) == port
    }
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(str(entry.readlink()))
    return [link for link in links if link.removeprefix("socket:[").removesuffix("]") in inodes]


@pytest.mark.parametrize("oddity", ["link", "link-to-folder", "pipe"])
def test_an_image_folder_with_odd_things_in_it_is_not_pushed(
    registry: Registry, repository: str, layout: tuple[Path, str], oddity: str
) -> None:
    odd = layout[0] / "blobs/sha256" / "odd"
    if oddity == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/etc/hostname" if oddity == "link" else "/etc")
    with pytest.raises(PushFailed, match="'odd' is no file"):
        pushed(registry, layout[0], repository)
    assert registry.digest_of(repository, "1") is None


def test_a_broken_image_is_tried_once_and_the_reason_is_one_line(
    registry: Registry, repository: str, layout: tuple[Path, str]
) -> None:
    (layout[0] / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    output: list[bytes] = []
    pushing = registry.push(layout[0], repository=repository, tag="1")
    with pytest.raises(PushFailed) as failed:
        output.extend(data for _, data in pushing)
    assert str(failed.value).startswith(f"pushing {registry.host}/{repository}:1 failed: ")
    assert "\n" not in str(failed.value)
    assert b"next try" not in b"".join(output)


def test_a_registry_that_is_away_is_asked_again_and_then_named(layout: tuple[Path, str]) -> None:
    registry = make(f"127.0.0.1:{free_port()}")
    pushing = registry.push(layout[0], repository="a/b", tag="1")
    output: list[bytes] = []
    with pytest.raises(PushFailed, match=r"cannot be reached: .*connection attempts failed"):
        output.extend(data for _, data in pushing)
    assert b"".join(output).count(b"next try in") == 2
    with pytest.raises(RegistryError, match=f"{registry.host} cannot be reached"):
        registry.ping()


# Credentials.


@pytest.fixture
def auth_file(tmp_path: Path, locked_host: str) -> Path:
    file = tmp_path / "auth.json"
    pair = base64.b64encode(f"worker:{PASSWORD}".encode()).decode()
    file.write_text(json.dumps({"auths": {locked_host: {"auth": pair}}}))
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def locked_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that wants a name and a password."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "htpasswd").write_text(HTPASSWD)
    port = free_port()
    config = CONFIG.format(root=folder / "blobs", port=port)
    config += f"auth:\n  htpasswd:\n    realm: slipway\n    path: {folder / 'htpasswd'}\n"
    (folder / "config.yml").write_text(config)
    with start(["docker-registry", "serve", folder / "config.yml"], log=folder / "log"):
        until = time.monotonic() + 10
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False)
                break
            except httpx.TransportError:
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.02)
        yield f"127.0.0.1:{port}"


def test_credentials_open_a_locked_registry_for_pushes_and_calls(
    locked_host: str, auth_file: Path, repository: str, layout: tuple[Path, str]
) -> None:
    registry = make(
        locked_host,
        credentials=read_credentials(auth_file),
    )
    assert registry.secrets == (PASSWORD,)
    _, manifest = push_to_the_end(registry, layout[0], repository)
    assert registry.digest_of(repository, "1") == layout[1]
    registry.tag(repository, manifest, tag="2")
    registry.delete(repository, layout[1])
    assert tags_of(registry, repository) == []


def test_a_build_of_an_owner_never_gets_the_operators_credentials(
    locked_host: str, auth_file: Path, settings: Any
) -> None:
    deployment = replace(
        settings.BUILDS, registry=locked_host, registry_insecure=True, registry_auth=auth_file
    )
    make_registry(deployment).ping()
    owners = make_registry(deployment, owner_id=uuid4())
    with pytest.raises(RegistryError) as refused:
        owners.digest_of("a/b", "1")
    assert refused.value.status == 401
    assert owners.token_to_pull(["a/b"], seconds=60) == ""


def test_without_credentials_a_locked_registry_refuses_at_once(
    locked_host: str, layout: tuple[Path, str]
) -> None:
    registry = make(locked_host)
    output: list[bytes] = []
    pushing = registry.push(layout[0], repository="a/b", tag="1")
    with pytest.raises(PushFailed, match="authentication required"):
        output.extend(data for _, data in pushing)
    assert b"next try" not in b"".join(output)
    with pytest.raises(RegistryError, match="answered 401"):
        registry.ping()


def test_credentials_are_read_in_each_spelling(tmp_path: Path) -> None:
    pair = base64.b64encode(b"a:b:c").decode()
    file = tmp_path / "auth.json"
    entries = {
        "https://index.docker.io/v1/": {"auth": pair},
        "r.example:5000": {"username": "x", "password": "y"},
        "helped.example": {},
    }
    file.write_text(json.dumps({"auths": entries}))
    found = read_credentials(file)
    assert {host: (each.username, each.password) for host, each in found.items()} == {
        "index.docker.io": ("a", "b:c"),
        "r.example:5000": ("x", "y"),
    }
    assert "b:c" not in repr(found)
    assert read_credentials(None) == {}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"auths": {"h": {"auth": "%"}}}',
        '{"auths": {"h": {"auth": "YQ=="}}}',
        '{"auths": 3}',
    ],
)
def test_a_broken_file_of_credentials_is_named_and_not_quoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "auth.json"
    file.write_text(content)
    with pytest.raises(AuthFileError, match=r"auth\.json is not a file as"):
        read_credentials(file)


def test_a_missing_file_of_credentials_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuthFileError, match="cannot be read: No such file"):
        read_credentials(tmp_path / "none.json")


# Against one that misbehaves.


class Asked(BaseHTTPRequestHandler):
    """Answers through the server's `answer`, a function of the request."""

    answer: Callable[["Asked"], None]

    def do_GET(self) -> None:
        type(self).answer(self)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the server's names

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Tests are quiet."""


@contextmanager
def http_server(answer: Callable[[Asked], None]) -> Iterator[str]:
    handler = type("Handler", (Asked,), {"answer": answer})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def token_registry(realm: str = "") -> Callable[[Asked], None]:
    """The distribution token protocol, as Slipway itself will speak it."""

    def answer(asked: Asked) -> None:
        here = asked.headers["Host"]
        basic = base64.b64encode(f"worker:{PASSWORD}".encode()).decode()
        if asked.path.startswith("/token"):
            assert "service=slipway" in asked.path
            assert "scope=repository%3Aa%2Fb%3Apull%2Cpush" in asked.path
            right = asked.headers["Authorization"] == f"Basic {basic}"
            asked.say(200 if right else 401, b'{"token": "opaque"}' if right else b"{}")
        elif asked.headers["Authorization"] == "Bearer opaque":
            asked.say(200, Docker_Content_Digest="sha256:1")
        else:
            where = realm or f"http://{here}/token"
            asked.say(
                401,
                WWW_Authenticate=f'Bearer realm="{where}",service="slipway",'
                'scope="repository:a/b:pull,push"',
            )

    return answer


def credentials(host: str, password: str = PASSWORD) -> dict[str, Any]:
    return {host: Credentials("worker", password)}


def test_a_token_is_fetched_where_the_registry_asks_for_one() -> None:
    with http_server(token_registry()) as host:
        registry = make(host, credentials=credentials(host))
        assert registry.digest_of("a/b", "1") == "sha256:1"


def test_a_token_that_is_refused_is_a_401_and_no_circle() -> None:
    with http_server(token_registry()) as host:
        registry = make(host, credentials=credentials(host, "wrong"))
        with pytest.raises(RegistryError, match="answered 401"):
            registry.digest_of("a/b", "1")


def test_a_password_sent_encrypted_is_not_passed_on_in_the_clear() -> None:
    asked = httpx.Request("GET", "https://r.example/v2/")
    [known] = credentials("r.example").values()
    flow = RegistryAuth(known).auth_flow(asked)
    next(flow)
    for realm, sent in (("http://t.example/token", False), ("https://t.example/token", True)):
        flow = RegistryAuth(known).auth_flow(asked)
        next(flow)
        challenge = {"www-authenticate": f'Bearer realm="{realm}"'}
        asking = flow.send(httpx.Response(401, headers=challenge, request=asked))
        assert str(asking.url) == realm
        assert ("Authorization" in asking.headers) is sent


@pytest.mark.parametrize(
    "challenge", ["", "Digest x", "Bearer", 'Bearer service="x"', "Basic realm=x"]
)
def test_a_challenge_that_cannot_be_met_is_a_401(challenge: str) -> None:
    refused = pytest.raises(RegistryError, match="answered 401")
    with http_server(lambda asked: asked.say(401, WWW_Authenticate=challenge)) as host, refused:
        make(host).ping()


def test_a_request_that_failed_on_the_way_is_repeated() -> None:
    answers = iter([503, 429, 200])
    with http_server(lambda asked: asked.say(next(answers))) as host:
        make(host).ping()
    assert not list(answers)


def test_an_answer_that_will_not_change_is_not_asked_for_again() -> None:
    answers = iter([405, 202])
    body = b'{"errors": [{"code": "UNSUPPORTED", "message": "deleting is off"}]}'
    refused = pytest.raises(RegistryError, match=r"answered 405 .* deleting is off")
    with http_server(lambda asked: asked.say(next(answers), body)) as host, refused:
        make(host).delete("a/b", "sha256:1")
    assert list(answers) == [202]


def test_a_digest_is_computed_where_the_registry_does_not_name_it() -> None:
    with http_server(lambda asked: asked.say(200, b"manifest")) as host:
        found = make(host).digest_of("a/b", "1")
    assert found == f"sha256:{hashlib.sha256(b'manifest').hexdigest()}"


# Pushes to registries that misbehave.


@dataclass
class UploadingRegistry:
    """Takes pushes; `before` may answer a request in its place."""

    before: Callable[[Asked], bool] = lambda _: False
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def __call__(self, asked: Asked) -> None:
        path = asked.path.partition("?")[0]
        self.asked.append(f"{asked.command} {path}")
        if asked.command == "PUT":
            self.bodies.append(asked.rfile.read(int(asked.headers["Content-Length"])))
        if self.before(asked):
            return
        if asked.command == "HEAD":
            asked.say(404)
        elif asked.command == "POST":
            asked.say(202, Location="http://elsewhere.invalid/upload?state=1")
        else:
            asked.say(201)


def test_uploads_go_to_this_registry_whatever_host_it_names(layout: tuple[Path, str]) -> None:
    answer = UploadingRegistry()
    with http_server(answer) as host:
        pushed(make(host), layout[0], "a/b")
    assert answer.asked.count("PUT /upload") == 2
    assert answer.asked[-1] == "PUT /v2/a/b/manifests/1"


def test_the_tag_is_set_after_every_layer_has_arrived(tmp_path: Path) -> None:
    folder, _ = make_layout(tmp_path / "layout", layers=[b"%d" % n for n in range(9)])
    answer = UploadingRegistry()
    with http_server(answer) as host:
        pushed(make(host), folder, "a/b")
    assert answer.asked.count("PUT /upload") == 10
    assert answer.asked[-1] == "PUT /v2/a/b/manifests/1"


def test_a_push_that_was_interrupted_is_tried_again(layout: tuple[Path, str]) -> None:
    lost = iter([404, 503])

    def before(asked: Asked) -> bool:
        status = next(lost, None) if asked.path.startswith("/upload") else None
        if status is not None:
            asked.say(status)
        return status is not None

    with http_server(UploadingRegistry(before)) as host:
        said = pushed(make(host), layout[0], "a/b")
    assert 1 <= said.count(b"next try in") <= 2


def test_a_blob_that_the_registry_refuses_ends_the_push(layout: tuple[Path, str]) -> None:
    body = b'{"errors": [{"message": "provided digest did not match uploaded content"}]}'

    def before(asked: Asked) -> bool:
        if asked.path.startswith("/upload"):
            asked.say(400, body)
        return asked.path.startswith("/upload")

    answer = UploadingRegistry(before)
    with http_server(answer) as host, pytest.raises(PushFailed, match="did not match"):
        pushed(make(host), layout[0], "a/b")
    assert not [each for each in answer.asked if "manifests" in each]


def test_a_layer_that_was_changed_is_refused_by_a_real_registry(
    registry: Registry, repository: str, tmp_path: Path
) -> None:
    folder, _ = make_layout(tmp_path / "layout", layers=[b"one", b"two"])
    manifest = json.loads((folder / "index.json").read_text())["manifests"][0]
    parts = json.loads((folder / "blobs/sha256" / manifest["digest"][7:]).read_text())
    layer = folder / "blobs/sha256" / parts["layers"][0]["digest"][7:]
    layer.write_bytes(bytes(reversed(layer.read_bytes())))
    with pytest.raises(PushFailed, match="answered 400"):
        pushed(registry, folder, repository)
    assert registry.digest_of(repository, "1") is None


def test_a_manifest_that_was_changed_is_not_pushed(layout: tuple[Path, str]) -> None:
    folder, digest = layout
    file = folder / "blobs/sha256" / digest.removeprefix("sha256:")
    file.write_bytes(file.read_bytes() + b" ")
    answer = UploadingRegistry()
    with http_server(answer) as host, pytest.raises(PushFailed, match="not what its digest"):
        pushed(make(host), folder, "a/b")
    assert not answer.asked


def test_a_layer_that_is_there_in_a_store_of_its_own_is_not_sent(
    layout: tuple[Path, str],
) -> None:
    """Registries that keep blobs elsewhere answer with a redirect."""

    def before(asked: Asked) -> bool:
        if asked.command == "HEAD" and asked.path.startswith("/v2/"):
            asked.say(307, Location="/stored")
        elif asked.command == "HEAD":
            asked.say(200)
        return asked.command == "HEAD"

    answer = UploadingRegistry(before)
    with http_server(answer) as host:
        pushed(make(host), layout[0], "a/b")
    assert answer.bodies == [
        (layout[0] / "blobs/sha256" / layout[1].removeprefix("sha256:")).read_bytes()
    ]


def test_a_push_asks_for_a_token_once_and_again_when_it_has_expired(tmp_path: Path) -> None:
    folder, _ = make_layout(tmp_path / "layout", layers=[b"1", b"2", b"3"])
    tokens = 0

    def before(asked: Asked) -> bool:
        nonlocal tokens
        if asked.path.startswith("/token"):
            assert "scope=repository%3Aa%2Fb%3Apull%2Cpush" in asked.path
            tokens += 1
            asked.say(200, json.dumps({"token": f"t{tokens}"}).encode())
            return True
        given = (asked.headers["Authorization"] or "").removeprefix("Bearer ")
        expired = given == "t1" and asked.path.startswith("/upload")
        if given in {f"t{n}" for n in range(1, tokens + 1)} and not expired:
            return False
        asked.say(
            401,
            WWW_Authenticate=f'Bearer realm="http://{asked.headers["Host"]}/token",'
            'service="slipway",scope="repository:a/b:pull"',
        )
        return True

    answer = UploadingRegistry(before)
    with http_server(answer) as host:
        pushed(make(host, credentials=credentials(host)), folder, "a/b")
    first_upload = next(at for at, each in enumerate(answer.asked) if "/upload" in each)
    assert answer.asked[:first_upload].count("GET /token") == 1
    assert tokens >= 2
    for path in (folder / "blobs/sha256").iterdir():
        assert path.read_bytes() in answer.bodies
