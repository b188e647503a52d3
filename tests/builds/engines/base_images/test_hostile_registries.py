"""Registries that lead elsewhere, lie, flood or fall silent, each beside a control that reaches."""

import socket
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from builds.engines.base import BuildFailed
from builds.engines.base_images import fetch, socks
from builds.engines.base_images.images import BaseImages
from tests.builds.engines.base_images.conftest import Fetcher, base, finish
from tests.builds.engines.base_images.scripted_registry import (
    Handler,
    ScriptedRegistry,
    digest_of,
    redirect,
    send,
    tar,
)

METADATA = "http://169.254.169.254/latest/meta-data/"


def refusal(fetcher: Fetcher, reference: str, **values: Any) -> str:
    with pytest.raises(BuildFailed) as failed:
        fetcher(reference, **values)
    assert failed.value.code == "base"
    start = f"Dockerfile line 3: the base image {reference} "
    assert failed.value.text.startswith(start)
    assert failed.value.text.isprintable()
    assert len(failed.value.text) < 500
    return failed.value.text.removeprefix(start)


def challenge(realm: str) -> Handler:
    header = {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}
    return lambda request: send(request, b"{}", status=401, headers=header)


def lead_away(registry: ScriptedRegistry, how: str, url: str) -> None:
    """Make a fetch of the registry's image ask `url` for something."""
    image = registry.image()
    if how == "realm":
        registry.handlers["/v2/"] = challenge(url)
        registry.handlers["/manifests/1"] = challenge(url)
    elif how == "manifest":
        registry.handlers["/manifests/1"] = redirect(url)
    elif how == "config":
        registry.handlers[next(iter(registry.blobs))] = redirect(url)
    else:
        registry.handlers[list(registry.blobs)[1]] = redirect(url)
    assert image


WAYS = ["realm", "manifest", "config", "layer"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("place", ["127.0.0.1", "localhost", "inner.test", "[::ffff:127.0.0.1]"])
def test_a_registry_cannot_lead_to_a_private_address(
    fetcher: Fetcher, registry: ScriptedRegistry, target: ScriptedRegistry, how: str, place: str
) -> None:
    port = target.address.partition(":")[2]
    fetcher.names["inner.test"] = ["127.0.0.1"]
    fetcher.names["::ffff:127.0.0.1"] = ["::ffff:127.0.0.1"]
    lead_away(registry, how, f"http://{place}:{port}/stolen")
    said = refusal(fetcher, registry.reference())
    assert "private address" in said
    assert "SLIPWAY_PRIVATE_REGISTRIES" in said
    assert target.requests == []


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("place", ["127.0.0.1", "inner.test"])
def test_control_a_place_that_the_operator_named_is_reached(
    fetcher: Fetcher, registry: ScriptedRegistry, target: ScriptedRegistry, how: str, place: str
) -> None:
    port = target.address.partition(":")[2]
    fetcher.names["inner.test"] = ["127.0.0.1"]
    fetcher.configure(private_registries=frozenset({registry.address, f"{place}:{port}"}))
    lead_away(registry, how, f"http://{place}:{port}/stolen")
    said = refusal(fetcher, registry.reference())
    assert "private address" not in said
    assert any("/stolen" in request for request in target.requests)


def test_the_metadata_service_is_not_asked(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    for how in WAYS:
        registry.handlers.clear()
        lead_away(registry, how, METADATA)
        assert "private address (169.254.169.254:80)" in refusal(fetcher, registry.reference())


def test_a_registry_on_a_private_address_must_be_named(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    registry.image()
    fetcher.names["lan.test"] = ["127.0.0.1"]
    fetcher.configure(insecure_registries=frozenset())
    assert "private address" in refusal(fetcher, registry.reference())
    assert "private address" in refusal(fetcher, registry.reference(host="lan.test"))
    assert registry.requests == []
    address = registry.reference(host="lan.test").partition("/")[0]
    fetcher.configure(insecure_registries=frozenset({address}))
    assert fetcher(registry.reference(host="lan.test")).size


def test_foreign_layers_are_refused_and_not_asked_for(
    fetcher: Fetcher, registry: ScriptedRegistry, target: ScriptedRegistry
) -> None:
    def spoil(manifest: dict[str, Any]) -> None:
        manifest["layers"][0]["urls"] = [f"http://{target.address}/layer"]

    registry.image(change=spoil)
    assert "foreign layers" in refusal(fetcher, registry.reference())
    assert target.requests == []
    assert registry.fetched() == []


def test_a_name_that_changes_its_address_is_decided_about_each_time(
    fetcher: Fetcher, registry: ScriptedRegistry, target: ScriptedRegistry
) -> None:
    """The first answer is global and the later ones are not: what is connected to was checked."""
    port = int(target.address.partition(":")[2])
    answers = ["93.184.216.34"]
    connected: list[tuple[str, int]] = []

    def resolve(host: str, _: int) -> list[str]:
        if host != "rebind.test":
            return [host]
        return [answers.pop(0)] if answers else ["127.0.0.1"]

    def connect(address: str, to: int, timeout: float) -> socket.socket:
        connected.append((address, to))
        if address == "93.184.216.34":
            raise ConnectionRefusedError
        return socks.connect(address, to, timeout)

    lead_away(registry, "layer", f"http://rebind.test:{port}/stolen")
    images = BaseImages(fetcher.settings, resolve=resolve, connect=connect)
    with pytest.raises(BuildFailed, match="private address"):
        finish(images.fetch([base(registry.reference())], fetcher.hold))
    assert ("93.184.216.34", port) in connected
    assert ("127.0.0.1", port) not in connected
    assert target.requests == []


def test_what_a_server_says_is_not_passed_on(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    secret = "s3cret-of-the-metadata-service"
    for status in (200, 400, 401, 404, 500):
        body = f'{{"errors":[{{"code":"X","message":"{secret}"}}],"Token":"{secret}"}}'.encode()
        registry.handlers["/manifests/1"] = partial(send, body=body, status=status)
        assert secret not in refusal(fetcher, registry.reference())
        assert secret not in fetcher.said


def endless(kind: str) -> Handler:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        while True:
            request.wfile.write(chunk)

    return answer


def test_an_endless_manifest_is_ended(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    registry.handlers["/manifests/1"] = endless("application/vnd.oci.image.manifest.v1+json")
    assert refusal(fetcher, registry.reference())


def test_an_endless_layer_is_ended_by_what_was_declared(
    fetcher: Fetcher, registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MESSAGE_BYTES", 1 << 20)
    registry.image()
    registry.handlers[list(registry.blobs)[1]] = endless("application/octet-stream")
    assert "sent more than 1.0 MB" in refusal(fetcher, registry.reference())


@pytest.mark.parametrize("what", ["manifest", "layer"])
def test_a_registry_that_falls_silent_is_given_up(
    fetcher: Fetcher, registry: ScriptedRegistry, what: str
) -> None:
    over = threading.Event()
    registry.image()
    path = "/manifests/1" if what == "manifest" else list(registry.blobs)[1]

    def wait(_: BaseHTTPRequestHandler) -> None:
        over.wait(30)

    registry.handlers[path] = wait
    fetcher.configure(base_timeout_seconds=1.5)
    try:
        said = refusal(fetcher, registry.reference())
    finally:
        over.set()
    assert said == "could not be pulled within 1.5 seconds."


def trickle(over: threading.Event) -> Handler:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000")
        request.end_headers()
        while not over.wait(0.05):
            request.wfile.write(b" ")
            request.wfile.flush()

    return answer


def test_a_registry_that_trickles_is_given_up(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    over = threading.Event()
    registry.handlers["/manifests/1"] = trickle(over)
    fetcher.configure(base_timeout_seconds=1.5)
    try:
        assert "within 1.5 seconds" in refusal(fetcher, registry.reference())
    finally:
        over.set()


def test_an_image_that_says_it_is_too_large_is_not_fetched(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    def spoil(manifest: dict[str, Any]) -> None:
        manifest["layers"][0]["size"] = 30 << 30

    registry.image(change=spoil)
    assert "is too large: 32,212.3 MB compressed" in refusal(fetcher, registry.reference())
    assert registry.fetched() == []


def test_an_image_of_too_many_layers_is_not_fetched(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    registry.image("500", layers=[tar(a=b"a")] * 500)
    registry.image("600", layers=[tar(a=b"a")] * 600)
    assert "has 600 layers, and 500 are allowed" in refusal(fetcher, registry.reference("600"))
    assert registry.fetched() == []
    assert fetcher(registry.reference("500")).size


@pytest.mark.parametrize("what", ["tag", "manifest", "config", "layer"])
def test_content_that_its_digest_denies_is_refused(
    fetcher: Fetcher, registry: ScriptedRegistry, what: str
) -> None:
    image = registry.image()
    other = registry.image("2", layers=[tar(other=b"other")])
    reference = registry.reference()
    if what == "tag":
        reference = registry.reference(image["digest"])
        registry.manifests[image["digest"]] = registry.manifests[other["digest"]]
    elif what == "manifest":
        registry.index("1", [(image, "linux/amd64")])
        registry.manifests[image["digest"]] = registry.manifests[other["digest"]]
    else:
        digest = list(registry.blobs)[what == "layer"]
        size = len(registry.blobs[digest])
        registry.blobs[digest] = b"x" * size
    assert refusal(fetcher, reference)
    shared = fetcher.settings.root / "base-images/shared/layout/blobs/sha256"
    for path in shared.iterdir():
        assert digest_of(path.read_bytes()) == f"sha256:{path.name}"
    assert not (shared / image["digest"].removeprefix("sha256:")).exists()


def test_an_image_for_another_platform_is_refused_before_its_layers_come(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    image = registry.image("alone", config={"architecture": "arm64"})
    assert "is for linux/arm64, not for linux/amd64" in refusal(
        fetcher, registry.reference("alone")
    )
    registry.index("lying", [(image, "linux/amd64")])
    assert "is for linux/arm64, not for linux/amd64" in refusal(
        fetcher, registry.reference("lying")
    )
    registry.index("missing", [(image, "linux/arm64")])
    assert "is not available for linux/amd64, only for linux/arm64" in refusal(
        fetcher, registry.reference("missing")
    )
    assert len(registry.fetched()) == len(["the configuration", "and once more"])
    assert fetcher(registry.reference("missing"), platform="linux/arm64").digest == image["digest"]


def test_an_index_in_an_index_is_followed_for_a_few_steps(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    image = registry.image("0")
    inner = registry.index("1", [(image, "linux/amd64")])
    outer = registry.index("2", [(inner, "linux/amd64")])
    registry.index("3", [(outer, "linux/amd64")])
    assert fetcher(registry.reference("2")).digest == image["digest"]
    assert "leads to indexes only" in refusal(fetcher, registry.reference("3"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda r: send(r, b"{}", status=404), "does not exist."),
        (lambda r: send(r, b"{}", status=401), "does not exist, or its registry wants cred"),
        (lambda r: send(r, b"{}", status=403), "does not exist, or its registry wants cred"),
        (lambda r: send(r, b"{}", status=503), "its registry answered with status 503"),
        (lambda r: send(r, b"<html>", status=200, kind="text/html"), "is not an image"),
        (lambda r: r.connection.shutdown(socket.SHUT_RDWR), "its registry cut the connection"),
    ],
)
def test_the_reason_is_said_in_plain_words(
    fetcher: Fetcher,
    registry: ScriptedRegistry,
    answer: Callable[[BaseHTTPRequestHandler], None],
    reason: str,
) -> None:
    registry.handlers["/manifests/1"] = answer
    assert reason in refusal(fetcher, registry.reference())


def test_a_registry_without_tls_must_be_named(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    registry.image()
    fetcher.configure(
        insecure_registries=frozenset(), private_registries=frozenset({registry.address})
    )
    assert "speaks no TLS" in refusal(fetcher, registry.reference())


def test_names_that_nobody_knows(fetcher: Fetcher) -> None:
    said = refusal(fetcher, "nowhere.test/team/base:1")
    assert said == "could not be pulled: nowhere.test:443 cannot be found."
