"""Who pulls, pushes and deletes at a running instance's registry, with skopeo and by hand."""

import json
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.conftest import script, zipped
from tests.instance import Instance, send, watch
from tests.registry import running_registry, tags_of

CONTEXT = zipped(a_txt="a")
CAST = """
import json
from accounts.models import ApiKey, User
def key(user, **fields): return ApiKey.objects.issue(user, **fields)[1]
owner, stranger = (User.objects.create_user(name) for name in ("owner", "stranger"))
revoked, spent = ApiKey.objects.issue(owner)
ApiKey.objects.filter(pk=revoked.pk).revoke()
print(json.dumps({
    "owner": key(owner), "stranger": key(stranger), "revoked": spent,
    "writing": key(owner, scopes=["images:write", "images:delete"]),
}))
"""


class Cast(NamedTuple):
    instance: Instance
    keys: dict[str, str]

    def reference(self, image: str) -> str:
        return f"docker://{self.instance.registry}/owner/{image}"

    def token(self, repository: str, actions: str = "pull", key: str = "") -> str:
        auth = ("owner", self.keys[key]) if key else None
        query = {"service": "slipway", "scope": f"repository:owner/{repository}:{actions}"}
        url = f"{self.instance.url}/registry/token"
        token: str = httpx.get(url, params=query, auth=auth, trust_env=False).json()["token"]
        return token

    def call(self, method: str, path: str, token: str = "") -> httpx.Response:
        headers = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = f"http://{self.instance.registry}/v2/owner/{path}"
        return httpx.request(method, url, headers=headers, trust_env=False)


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with Instance(tmp_path_factory.mktemp("access") / "data", engine="scripted") as instance:
        cast = Cast(instance, json.loads(instance.manage("shell", "--verbosity=0", "-c", CAST)))
        for image, public in {
            "mixed:open": "true",
            "mixed:closed": "false",
            "secret:1": "false",
            "turning:1": "true",
        }.items():
            assert build(cast, image, public=public) == "built and pushed"
        yield cast


def build(
    cast: Cast, image: str, *, public: str = "false", who: str = "owner", base: str = ""
) -> str:
    """Builds an image of that user; the final status."""
    name, _, tag = image.partition(":")
    dockerfile = script("echo hello").replace("FROM scratch", f"FROM {base or 'scratch'}")
    with cast.instance.client(cast.keys[who]) as client:
        made = send(client, dockerfile, CONTEXT, username=who, name=name, tag=tag, public=public)
        return watch(client, made["image_id"])[1]


def set_public(cast: Cast, name: str, *, public: bool) -> None:
    """Behind the server's back: nothing tells the registry."""
    with closing(sqlite3.connect(cast.instance.data_dir / "slipway.sqlite3", timeout=20)) as base:
        base.execute("UPDATE images_image SET public = ? WHERE name = ?", [public, name])
        base.commit()


def skopeo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False)


def pulls(cast: Cast, image: str, who: str = "", key: str = "") -> bool:
    creds = ["--creds", f"{who}:{cast.keys[key or who]}"] if who else ["--no-creds"]
    reference = cast.reference(image)
    return skopeo("inspect", "--tls-verify=false", *creds, reference).returncode == 0


def test_a_private_image_is_pulled_by_its_owner_and_nobody_else(cast: Cast, tmp_path: Path) -> None:
    for image in ("secret:1", "mixed:closed"):
        assert pulls(cast, image, "owner")
        assert not pulls(cast, image, "stranger")
        assert not pulls(cast, image)
    creds = ["--src-creds", f"owner:{cast.keys['owner']}"]
    copied = skopeo(
        "copy", "--src-tls-verify=false", *creds, cast.reference("secret:1"), f"oci:{tmp_path}/to"
    )
    assert copied.returncode == 0, copied.stderr


def test_a_public_image_is_pulled_by_anybody(cast: Cast, tmp_path: Path) -> None:
    assert pulls(cast, "mixed:open")
    assert pulls(cast, "mixed:open", "stranger")
    source = cast.reference("mixed:open")
    copied = skopeo("copy", "--src-tls-verify=false", "--src-no-creds", source, f"dir:{tmp_path}")
    assert copied.returncode == 0, copied.stderr


def test_wrong_revoked_and_narrow_keys_are_refused(cast: Cast) -> None:
    for key in ("revoked", "writing", "stranger"):
        assert not pulls(cast, "secret:1", "owner", key)
        assert not pulls(cast, "mixed:open", "owner", key)


def test_a_login_is_kept_and_a_wrong_one_is_not(cast: Cast, tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    login = ["login", "--tls-verify=false", f"--authfile={file}", "--username=owner"]
    wrong = skopeo(*login, f"--password={cast.keys['revoked']}", cast.instance.registry)
    assert wrong.returncode != 0
    assert "invalid username/password" in wrong.stderr
    right = skopeo(*login, f"--password={cast.keys['owner']}", cast.instance.registry)
    assert "Login Succeeded" in right.stdout
    seen = skopeo("inspect", "--tls-verify=false", f"--authfile={file}", cast.reference("secret:1"))
    assert json.loads(seen.stdout)["RepoTags"] == ["1"]


def test_nobody_but_a_worker_pushes_or_deletes(cast: Cast, tmp_path: Path) -> None:
    creds = f"owner:{cast.keys['owner']}"
    source, layout = cast.reference("secret:1"), f"oci:{tmp_path}/image"
    skopeo("copy", "--src-tls-verify=false", "--src-creds", creds, source, layout)
    worker = cast.instance.registry_as_worker()
    before = worker.digest_of("owner/secret", "1")
    for who in (["--dest-creds", creds], ["--dest-no-creds"]):
        for target in ("secret:1", "secret:new", "other:1"):
            pushed = skopeo("copy", "--dest-tls-verify=false", *who, layout, cast.reference(target))
            assert pushed.returncode != 0
    for who in (["--creds", creds], ["--no-creds"]):
        assert skopeo("delete", "--tls-verify=false", *who, source).returncode != 0
    assert worker.digest_of("owner/secret", "1") == before
    assert worker.digest_of("owner/secret", "new") is None
    assert tags_of(worker, "owner/other") == []
    token = cast.token("secret", "pull,push,delete,*", "owner")
    for method, path in (
        ("DELETE", f"secret/manifests/{before}"),
        ("PUT", "secret/manifests/1"),
        ("POST", "secret/blobs/uploads/"),
        ("POST", f"stolen/blobs/uploads/?mount={before}&from=owner/secret"),
    ):
        assert cast.call(method, path, token).status_code == 401
    worker.delete("owner/secret", "sha256:" + "0" * 64)  # a worker is let in, to what is not there


def test_turning_private_takes_effect_at_once_on_tokens_that_are_out_already(cast: Cast) -> None:
    token = cast.token("turning")
    manifest = cast.call("GET", "turning/manifests/1", token)
    layer = f"turning/blobs/{manifest.json()['layers'][0]['digest']}"
    assert cast.call("GET", layer, token).status_code == 200
    try:
        set_public(cast, "turning", public=False)
        digest = manifest.headers["docker-content-digest"]
        for path in ("turning/manifests/1", f"turning/manifests/{digest}", layer,
                     "turning/tags/list"):  # fmt: skip
            assert cast.call("GET", path, token).status_code == 404
            assert cast.call("HEAD", path, token).status_code == 404
        assert not pulls(cast, "turning:1")
        assert not pulls(cast, "turning:1", "stranger")
        assert pulls(cast, "turning:1", "owner")
    finally:
        set_public(cast, "turning", public=True)
    assert pulls(cast, "turning:1")


def test_a_token_for_a_repository_does_not_open_what_is_private_in_it(cast: Cast) -> None:
    anybody, owner = cast.token("mixed"), cast.token("mixed", key="owner")
    assert cast.call("GET", "mixed/tags/list", anybody).json()["tags"] == ["open"]
    assert cast.call("GET", "mixed/tags/list", owner).json()["tags"] == ["closed", "open"]
    closed = cast.call("GET", "mixed/manifests/closed", owner).headers["docker-content-digest"]
    for reference in (
        "closed",
        closed,
        *tags_of(cast.instance.registry_as_worker(), "owner/mixed"),
    ):
        wanted = 200 if reference == "open" else 404
        assert cast.call("GET", f"mixed/manifests/{reference}", anybody).status_code == wanted
    assert cast.call("GET", f"mixed/manifests/{closed}", owner).status_code == 200


def test_without_a_token_the_registry_says_where_there_are_some(cast: Cast) -> None:
    answer = cast.call("GET", "mixed/manifests/open")
    assert answer.status_code == 401
    realm = f'realm="{cast.instance.url}/registry/token",service="slipway"'
    assert answer.headers["www-authenticate"].startswith(f"Bearer {realm}")
    big = httpx.put(
        f"http://{cast.instance.registry}/v2/owner/mixed/manifests/open",
        content=b"x" * 3_000_000,
        trust_env=False,
    )
    assert big.status_code == 401


def test_what_is_not_http_is_answered_at_once(cast: Cast) -> None:
    host, _, port = cast.instance.registry.partition(":")
    for garbage in (b"\x16\x03\x01\x02", b"GET / HTTP/9\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=5) as peer:
            peer.sendall(garbage)
            assert peer.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_base_of_ones_own_and_a_public_one_are_taken_and_a_private_one_is_refused(
    cast: Cast,
) -> None:
    ours, public = (f"{cast.instance.registry}/owner/{name}" for name in ("secret:1", "mixed:open"))
    assert build(cast, "over-own:1", base=ours) == "built and pushed"
    assert build(cast, "over-public:1", base=public, who="stranger") == "built and pushed"
    for n, base in enumerate([ours, ours.upper().replace("OWNER/SECRET", "owner/secret"),
                              f"{cast.instance.registry}/owner/mixed:closed",
                              f"{cast.instance.registry}/owner/nothing:1"]):  # fmt: skip
        status = build(cast, f"refused-{n}:1", base=base, who="stranger")
        assert status.startswith("error: The base image ")
        assert "does not exist, or is private to somebody else" in status


def test_a_registry_elsewhere_can_trust_the_same_tokens(cast: Cast, tmp_path: Path) -> None:
    """As docs/registry.md tells its operator, with what the command prints."""
    (tmp_path / "slipway.pem").write_text(cast.instance.manage("registry_certificate"))
    auth = f"""auth:
  token:
    realm: {cast.instance.url}/registry/token
    service: slipway
    issuer: slipway
    rootcertbundle: {tmp_path}/slipway.pem
"""
    with running_registry(tmp_path, more=auth) as address:
        url = f"http://{address}/v2/owner/mixed/tags/list"
        token = cast.token("mixed", key="owner")
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(url, trust_env=False).status_code == 401
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 404
        refused = httpx.get(url.replace("mixed", "else"), headers=headers, trust_env=False)
        assert refused.status_code == 401
