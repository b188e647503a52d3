"""Base images as they come from registries that behave."""

import base64
import gzip
import hashlib
import json
import os
import ssl
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from builds.build_spec import StepOutput
from builds.engines.base import BuildFailed, EngineBroken
from builds.engines.base_images import sandbox, store
from builds.engines.base_images.fetch import BaseHold
from builds.engines.base_images.store import BaseStore
from tests.builds.engines.base_images.conftest import Fetcher, base, finish, push, real_registry
from tests.builds.engines.base_images.scripted_registry import (
    ScriptedRegistry,
    digest_of,
    scripted_registry,
    send,
    tar,
)

LOOPBACK = IPv4Address("127.0.0.1")


def blobs_of(layout: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in (layout / "blobs/sha256").iterdir()}


def test_an_image_is_kept_as_its_registry_has_it(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    image = registry.image(layers=[tar(a=b"a"), tar(b=b"b")])
    found = fetcher(registry.reference())
    assert found.digest == image["digest"]
    assert blobs_of(found.store) == {*registry.blobs, image["digest"]}
    for digest in blobs_of(found.store):
        data = (found.store / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
        assert digest_of(data) == digest
    assert fetcher.said == f"Pulling {registry.reference()} (0.0 MB)\n"
    assert json.loads((found.store / "oci-layout").read_text())["imageLayoutVersion"] == "1.0.0"


def test_dockers_format_is_kept_with_what_oci_would_lose(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    inner = {
        "OnBuild": ["COPY --from=alpine /a /b"],
        "Healthcheck": {"Test": ["CMD", "true"]},
        "Shell": ["/bin/ash"],
    }
    image = registry.image(docker=True, config={"config": inner})
    found = fetcher(registry.reference())
    assert found.digest == image["digest"]
    assert blobs_of(found.store) == {*registry.blobs, image["digest"]}
    assert found.config.onbuild == ("COPY --from=alpine /a /b",)


def test_layers_without_compression_are_kept(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    for tag, docker in (("1", False), ("2", True)):
        image = registry.image(tag, docker=docker, compressed=False)
        assert image["digest"] in blobs_of(fetcher(registry.reference(tag)).store)
    assert set(registry.blobs) < blobs_of(fetcher(registry.reference()).store)


def test_layers_that_are_here_are_not_fetched_again(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    shared, own = tar(shared=b"s"), tar(own=b"o")
    for tag, docker in (("1", False), ("2", False), ("3", True)):
        registry.image(tag, layers=[shared, own + tag.encode()], docker=docker)
        registry.requests.clear()
        fetcher(registry.reference(tag))
        layer = digest_of(gzip.compress(shared, mtime=0))
        assert (layer in registry.fetched()) is (tag == "1")


def test_a_fresh_base_is_not_asked_for_and_pull_asks_always(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    registry.image(layers=[tar(old=b"o")])
    fetcher(registry.reference())
    new = registry.image(layers=[tar(new=b"n")])
    registry.requests.clear()
    fetcher(registry.reference())
    assert registry.requests == []
    assert fetcher(registry.reference(), pull=True).digest == new["digest"]
    assert "Pulling" in fetcher.said
    registry.requests.clear()
    assert fetcher(registry.reference(), pull=True).digest == new["digest"]
    assert fetcher.said == ""
    assert registry.fetched("manifests") == ["1"]
    assert registry.fetched() == []


def test_a_base_that_is_not_fresh_is_asked_for(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    registry.image()
    fetcher.configure(base_refresh_seconds=0)
    fetcher(registry.reference())
    new = registry.image(layers=[tar(new=b"n")])
    assert fetcher(registry.reference()).digest == new["digest"]


def test_a_digest_is_asked_for_once(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    image = registry.image()
    index = registry.index("1", [(image, "linux/amd64")])
    reference = registry.reference(index["digest"])
    assert fetcher(reference).digest == image["digest"]
    registry.requests.clear()
    fetcher.configure(base_refresh_seconds=0)
    assert fetcher(reference, pull=True).digest == image["digest"]
    assert registry.requests == []


def test_a_digest_of_sha512_is_taken(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    image = registry.image()
    index = registry.index("", [(image, "linux/amd64")])
    kind, data = registry.manifests[index["digest"]]
    digest = f"sha512:{hashlib.sha512(data).hexdigest()}"
    registry.manifests[digest] = (kind, data)
    name = registry.reference().rpartition(":")[0]
    assert fetcher(f"{name}@{digest}").digest == image["digest"]
    registry.manifests["sha512:" + "0" * 128] = (kind, data)
    with pytest.raises(BuildFailed, match="is damaged"):
        fetcher(f"{name}@sha512:{'0' * 128}")


def test_our_copy_serves_while_the_registry_is_away(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    image = registry.image()
    fetcher(registry.reference())
    registry.handlers["/manifests/1"] = lambda request: send(request, b"", status=503)
    assert fetcher(registry.reference(), pull=True).digest == image["digest"]
    assert fetcher.said == (
        f"Using the copy of {registry.reference()} that was pulled earlier: "
        "its registry answered with status 503.\n"
    )


@pytest.mark.parametrize("status", [401, 404])
def test_our_copy_does_not_serve_when_the_registry_refuses(
    fetcher: Fetcher, registry: ScriptedRegistry, status: int
) -> None:
    registry.image()
    fetcher(registry.reference())
    registry.handlers["/manifests/1"] = lambda request: send(request, b"", status=status)
    with pytest.raises(BuildFailed, match="does not exist"):
        fetcher(registry.reference(), pull=True)


def test_a_registry_that_is_away_for_a_moment_is_asked_twice(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    registry.image()

    def once(request: BaseHTTPRequestHandler) -> None:
        registry.handlers.clear()
        send(request, b"", status=503)

    registry.handlers["/manifests/1"] = once
    assert fetcher(registry.reference()).size


def test_a_mirror_on_loopback_is_asked_where_the_operator_says_so(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    image = registry.image()
    mirror = registry.reference().removesuffix(":1")
    fetcher.configure(mirrors=(("images.test/team/base", mirror),))
    assert fetcher("images.test/team/base:1").digest == image["digest"]
    with pytest.raises(BuildFailed, match=r"images\.test:443 cannot be found"):
        fetcher("images.test/team/other:1")


def test_only_allowed_bases_are_fetched(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    registry.image()
    fetcher.configure(allowed_bases=("docker.io/library/*",))
    with pytest.raises(BuildFailed, match=r"line 3: .* allowed here: docker\.io/library/\*"):
        fetcher(registry.reference())
    assert registry.requests == []
    fetcher.configure(allowed_bases=(f"{registry.address}/team/*",))
    assert fetcher(registry.reference()).size


def test_credentials_are_given_to_the_registry_that_the_operator_names(
    fetcher: Fetcher, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    registry.image()
    file = tmp_path / "login.json"
    auth = base64.b64encode(b"name:password").decode()
    file.write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
    basic = {"WWW-Authenticate": 'Basic realm="r"'}

    def guard(request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Authorization") == f"Basic {auth}":
            registry.handlers.clear()
            registry.answer(request)
        else:
            send(request, b"", status=401, headers=basic)

    registry.handlers["/v2/"] = registry.handlers["/manifests/1"] = guard
    fetcher.configure(auth_file=file)
    with pytest.raises(BuildFailed, match="wants credentials"):
        fetcher(registry.reference())
    # What it sends without any is an empty name and password.
    assert {headers.get("authorization", "Basic Og==") for headers in registry.headers} == {
        "Basic Og=="
    }
    fetcher.configure(auth_registries=frozenset({registry.address}))
    assert fetcher(registry.reference()).size


def test_private_bases_are_kept_apart_and_share_what_is_public(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    public, secret = tar(public=b"p"), tar(secret=b"s")
    registry.image("1", layers=[public])
    fetcher(registry.reference())
    image = registry.image("2", layers=[public, secret])
    alice, bob = uuid4(), uuid4()
    registry.requests.clear()
    found = fetcher.private(registry.reference("2"), image["digest"], owner=alice)
    assert found.digest == image["digest"]
    assert digest_of(gzip.compress(public, mtime=0)) not in registry.fetched()
    shared = fetcher.settings.root / "base-images/shared/layout"
    hidden = digest_of(gzip.compress(secret, mtime=0))
    assert hidden in blobs_of(found.store)
    assert hidden not in blobs_of(shared)
    registry.requests.clear()
    fetcher.private(registry.reference("2"), image["digest"], owner=alice)
    assert registry.requests == []
    registry.handlers[image["digest"]] = lambda request: send(request, b"", status=401)
    with pytest.raises(BuildFailed, match="wants credentials"):
        fetcher.private(registry.reference("2"), image["digest"], owner=bob)
    assert hidden not in blobs_of(fetcher.settings.root / f"base-images/owners/{bob}/layout")


def test_a_manifest_that_names_a_private_layer_does_not_get_it(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    image = registry.image("1", layers=[tar(secret=b"s")])
    fetcher.private(registry.reference(), image["digest"], owner=uuid4())
    registry.image("2", layers=[tar(secret=b"s")])
    layer = list(registry.blobs)[1]
    registry.handlers[layer] = lambda request: send(request, b"", status=404)
    with pytest.raises(BuildFailed, match="does not exist"):
        fetcher(registry.reference("2"))
    registry.handlers.clear()
    assert fetcher(registry.reference("2")).size


def test_bases_that_no_build_uses_are_dropped_the_oldest_first(
    fetcher: Fetcher, registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = tar(common=b"c")
    found = {}
    for at, tag in enumerate(("old", "new", "held")):
        registry.image(tag, layers=[common, tar(own=tag.encode())])
        with BaseHold() as hold:
            events = fetcher.images.fetch([base(registry.reference(tag))], hold)
            (found[tag],), _ = finish(events)
        name = found[tag].digest.removeprefix("sha256:")
        record = fetcher.settings.root / f"base-images/shared/images/{name}.json"
        os.utime(record, (at, at) if tag != "held" else (0, 0))
    fetcher(registry.reference("held"))
    os.utime(record, (0, 0))
    layout = found["old"].store
    free = iter([0, 0, 10, 0, 0, 0])
    monkeypatch.setattr(store, "free_bytes_of", lambda _: next(free))
    fetcher.images.drop_unused(5)
    assert found["old"].digest not in blobs_of(layout)
    assert {found["new"].digest, found["held"].digest} < blobs_of(layout)
    fetcher.images.drop_unused(5)
    assert found["new"].digest not in blobs_of(layout)
    manifest = json.loads((layout / f"blobs/sha256/{name}").read_text())
    assert blobs_of(layout) == {
        found["held"].digest,
        manifest["config"]["digest"],
        *(layer["digest"] for layer in manifest["layers"]),
    }
    assert fetcher(registry.reference("old")).digest == found["old"].digest


def test_two_builds_fetch_one_base_once(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    registry.image()
    asked, go_on = threading.Event(), threading.Event()

    def wait(request: BaseHTTPRequestHandler) -> None:
        registry.handlers.clear()
        asked.set()
        go_on.wait(30)
        registry.answer(request)

    registry.handlers["/manifests/1"] = wait
    first = threading.Thread(target=fetcher, args=[registry.reference()])
    first.start()
    assert asked.wait(30)
    with BaseHold() as hold:
        second = fetcher.images.fetch([base(registry.reference())], hold)
        ticks = [next(second) for _ in range(3)]
        assert ticks == [StepOutput("stderr", b"")] * 3
        go_on.set()
        (found,), said = finish(second)
    first.join()
    assert said == ""
    assert found.size
    assert len(registry.fetched()) == len(["config", "config again with the layers", "layer"])


def test_a_fetch_that_is_closed_ends_and_leaves_nothing(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    registry.image()
    asked, over = threading.Event(), threading.Event()

    def wait(_: BaseHTTPRequestHandler) -> None:
        asked.set()
        over.wait(30)

    registry.handlers[list(registry.blobs)[1]] = wait
    events = fetcher.images.fetch([base(registry.reference())], fetcher.hold)
    while not asked.is_set():
        next(events)
    assert fetches_from(registry.address)
    events.close()
    over.set()
    # The last of a namespace goes a moment after the process that was waited for.
    while fetches_from(registry.address):
        time.sleep(0.01)
    shared = fetcher.settings.root / "base-images/shared"
    assert not any((shared / "downloads").iterdir())
    registry.handlers.clear()
    assert fetcher(registry.reference()).size


def fetches_from(address: str) -> list[int]:
    """The processes that run skopeo for that registry, or lead to it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if f"docker://{address}/".encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def test_what_an_ended_process_left_is_swept(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    registry.image()
    fetcher(registry.reference())
    store = BaseStore(fetcher.settings.root / "base-images/shared")
    left = store.download_folder("left")
    used = store.download_folder("used")
    lock = store.lock("used")
    assert lock is not None
    fetcher.images.sweep()
    assert not left.exists()
    assert used.exists()
    lock.release(remove=True)


def test_an_image_that_did_not_come_is_swept_unless_it_is_coming(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    registry.image()
    registry.handlers[list(registry.blobs)[1]] = lambda request: send(request, b"", status=404)
    with pytest.raises(BuildFailed):
        fetcher(registry.reference())
    images = fetcher.settings.root / "base-images/shared/images"
    fetcher.images.sweep()
    assert len(list(images.iterdir())) == 1
    fetcher.hold.__exit__()
    fetcher.images.sweep()
    assert list(images.iterdir()) == []


def test_our_own_registry_is_shown_a_token_and_nobody_is_asked_for_one(
    fetcher: Fetcher, registry: ScriptedRegistry, target: ScriptedRegistry
) -> None:
    image = registry.image()
    realm = f'Bearer realm="http://{target.address}/registry/token",service="s"'

    def guard(request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Authorization") == "Bearer good":
            send(request, b"{}") if request.path == "/v2/" else serve(request)
        else:
            send(request, b"{}", status=401, headers={"WWW-Authenticate": realm})

    def serve(request: BaseHTTPRequestHandler) -> None:
        name = request.path.rpartition("/")[2]
        if name in registry.blobs:
            send(request, registry.blobs[name])
        else:
            kind, data = registry.manifests[name]
            send(request, data, kind=kind, digest=name)

    for path in ("/v2/", image["digest"], *registry.blobs):
        registry.handlers[path] = guard
    reference = registry.reference()
    with pytest.raises(BuildFailed):
        fetcher.private(reference, image["digest"], owner=uuid4())
    found = fetcher.private(reference, image["digest"], owner=uuid4(), token="good")
    assert found.digest == image["digest"]
    assert target.requests == []


def test_what_is_being_written_stays_when_others_are_evicted(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    registry.image()
    found = fetcher(registry.reference())
    new, old = (found.store / "blobs/sha256" / name for name in (".new", ".old"))
    new.touch()
    old.touch()
    os.utime(old, (0, 0))
    fetcher.hold.__exit__()
    assert BaseStore(found.store.parent).evict(found.digest)
    assert list(new.parent.iterdir()) == [new]


def test_a_damaged_blob_is_fetched_again(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    registry.image()
    found = fetcher(registry.reference())
    layer = found.store / "blobs/sha256" / list(registry.blobs)[1].removeprefix("sha256:")
    size = layer.stat().st_size
    layer.chmod(0o600)
    layer.write_bytes(b"x" * size)
    assert finish(fetcher.images.drop_damaged([found]))[0]
    assert not layer.exists()
    assert not finish(fetcher.images.drop_damaged([found]))[0]
    fetcher(registry.reference())
    assert digest_of(layer.read_bytes()) == list(registry.blobs)[1]


def test_too_little_disk_space_is_the_operators_fault(
    fetcher: Fetcher, registry: ScriptedRegistry
) -> None:
    registry.image()
    fetcher.configure(reserve_bytes=1 << 60)
    with pytest.raises(EngineBroken, match="too little disk space") as broken:
        fetcher(registry.reference())
    assert broken.value.code == "disk"


def test_an_owners_bases_go_with_the_owner(fetcher: Fetcher, registry: ScriptedRegistry) -> None:
    image, alice = registry.image(), uuid4()
    found = fetcher.private(registry.reference(), image["digest"], owner=alice)
    fetcher.images.drop_owner(alice)
    assert image["digest"] in blobs_of(found.store)
    fetcher.hold.__exit__()
    fetcher.images.drop_owner(alice)
    assert not found.store.exists()


def test_a_real_registry(
    fetcher: Fetcher, engine_root: Path, tmp_path: Path, registry: ScriptedRegistry
) -> None:
    image = registry.image(layers=[tar(a=b"a"), tar(b=b"b" * 100_000)])
    fetcher(registry.reference())
    with real_registry(engine_root, tmp_path) as address:
        fetcher.configure(insecure_registries=frozenset({address, registry.address}))
        push(address, registry, "1")
        found = fetcher(f"{address}/team/base:1")
    assert found.digest == image["digest"]


def test_a_certificate_that_the_host_trusts_is_trusted(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, certificate = server_certificate(tmp_path)
    with scripted_registry(context) as registry:
        registry.image()
        fetcher.configure(
            private_registries=frozenset({registry.address}), insecure_registries=frozenset()
        )
        with pytest.raises(BuildFailed, match="certificate is not trusted"):
            fetcher(registry.reference())
        monkeypatch.setattr(sandbox, "CERTIFICATES", certificate)
        fetcher.configure()
        assert fetcher(registry.reference()).size


def test_an_unknown_certificate_is_taken_where_the_operator_says_so(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    context, _ = server_certificate(tmp_path)
    with scripted_registry(context) as registry:
        registry.image()
        fetcher.configure(insecure_registries=frozenset({registry.address}))
        assert fetcher(registry.reference()).size


def server_certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A self-signed one for 127.0.0.1, and the file that a client would trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    private = folder / "key.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, private)
    return context, file
