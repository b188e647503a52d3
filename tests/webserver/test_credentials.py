"""Credentials through the whole server: what is hashed on the way in is what was signed."""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.accounts.keypair import Keypair
from tests.conftest import script, zipped
from tests.instance import Instance
from tests.webserver.test_server import MIB, Client

KEY = Keypair()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    running = Instance(tmp_path_factory.mktemp("credentials") / "data", engine="scripted")
    with running:
        running.manage("create_user", "signer", "--hotkey", KEY.hotkey)
        yield running


def order(name: str) -> httpx.Request:
    """A form of `POST /images/` of some 5 MiB."""
    form = {
        "wait": "false",
        "username": "signer",
        "name": name,
        "readme": "",
        "logo_id": "__none__",
        "tag": "1",
        "dockerfile": script("echo hello"),
        "image": "",
        "public": "false",
    }
    context = zipped(a_txt="a", noise=os.urandom(5 * MIB).hex())
    made = httpx.Request(
        "POST", "http://slipway/", data=form, files={"build_context": ("c.zip", context)}
    )
    made.read()
    return made


def signed(content: bytes, signed: str | None = None) -> dict[str, str]:
    nonce = int(time.time())
    what = signed or hashlib.sha256(content).hexdigest()
    return {
        "X-Chutes-Hotkey": KEY.hotkey,
        "X-Chutes-Nonce": str(nonce),
        "X-Chutes-Signature": KEY.sign(f"{KEY.hotkey}:{nonce}:{what}").hex(),
    }


@pytest.mark.parametrize("chunked", [False, True])
def test_a_signed_order_is_accepted_and_only_once(instance: Instance, chunked: bool) -> None:
    sent = order(f"app-{chunked}")
    headers = {"Content-Type": sent.headers["content-type"], **signed(sent.content)}
    with httpx.Client(base_url=instance.url, trust_env=False) as client:

        def post() -> httpx.Response:
            content = iter([sent.content[:MIB], sent.content[MIB:]]) if chunked else sent.content
            return client.post("/images/", content=content, headers=headers)

        first, second = post(), post()
    assert first.status_code == 202, first.text
    assert second.status_code == 401
    assert "used before" in second.json()["detail"]


def test_a_body_that_was_not_signed_is_refused(instance: Instance) -> None:
    sent = order("changed")
    headers = {"Content-Type": sent.headers["content-type"], **signed(sent.content + b" ")}
    answer = httpx.post(
        f"{instance.url}/images/", content=sent.content, headers=headers, trust_env=False
    )
    assert answer.status_code == 401
    assert answer.json()["detail"] == f"Invalid request signature for hotkey {KEY.hotkey}"


@pytest.mark.parametrize("credentials", ["", "Authorization: cpk_wrong\r\n"])
def test_a_body_without_credentials_is_never_read(instance: Instance, credentials: str) -> None:
    spool = Path(instance.data_dir / "spool")
    with Client(instance.port, 0) as client:
        client.sendall(
            "POST /images/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data\r\n"
            f"{credentials}Content-Length: {100 * MIB}\r\n\r\n".encode()
        )
        said = client.stream.read()
    assert said.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"Www-Authenticate: Bearer" in said or b"WWW-Authenticate: Bearer" in said
    assert not list(spool.iterdir())


def test_what_is_refused_by_its_headers_is_counted(instance: Instance) -> None:
    refused = order("no-credentials")
    answer = httpx.post(f"{instance.url}/images/", content=refused.content, trust_env=False)
    told = httpx.get(f"{instance.url}/metrics", trust_env=False).text
    status = answer.status_code
    assert status == 401
    found = re.search(
        rf"^slipway_http_requests_total(.*refused.*{status}.*) [1-9]", told, re.MULTILINE
    )
    assert found
    assert 'method="POST"' in found[1]
