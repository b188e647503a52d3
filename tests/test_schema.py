"""What the server does is what its description says: schemathesis, all checks, every operation.

The examples come beside the boundary cases that schemathesis derives from the description itself.
"""

import hashlib
import io
import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from uuid import UUID
from zlib import crc32

import httpx
import PIL.Image
import pytest
import requests
import schemathesis
from hypothesis import settings
from requests.auth import AuthBase
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from api.fields import parse_bool
from api.openapi import description
from tests.accounts.keypair import Keypair
from tests.conftest import script, zipped
from tests.instance import Instance, send, watch

SIGNER = Keypair(7)
IMAGES = {"kept": "echo hello", "failing": "exit 1", "doomed": "echo bye"}
REFS = ["kept:1", "fuzzer/kept:1", "kept", "failing:1", "doomed:1"]
CURSORS = ["1:0", "1:2", "1:3:done"]
BODILESS = ("GET", "HEAD", "DELETE")
PASSWORD = "fuzzes-everything"


class Hotkey(AuthBase):
    """Signs what is sent, as it is sent."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        content = hashlib.sha256(body.encode() if isinstance(body, str) else body).hexdigest()
        if request.method in BODILESS:
            first = request.path_url.split("/")[1]
            content = "me" if first == "users" else first
        nonce = int(time.time())
        message = f"{SIGNER.hotkey}:{nonce}:{content}"
        request.headers["X-Chutes-Hotkey"] = SIGNER.hotkey
        request.headers["X-Chutes-Nonce"] = str(nonce)
        request.headers["X-Chutes-Signature"] = SIGNER.sign(message).hex()
        return request


class Headers(AuthBase):
    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self.headers)
        return request


def session(instance: Instance) -> Headers:
    with httpx.Client(base_url=instance.url, trust_env=False) as client:
        client.get("/admin/login/")
        token = client.cookies["csrftoken"]
        form = {"username": "fuzzer", "password": PASSWORD, "csrfmiddlewaretoken": token}
        assert client.post("/admin/login/", data=form).status_code == 302
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        return Headers(Cookie=cookies, X_CSRFToken=client.cookies["csrftoken"])


class Fuzzer:
    """Somebody with credentials of every form, and with images that guesses can hit."""

    def __init__(self, instance: Instance) -> None:
        self.url = instance.url
        instance.manage("create_user", "fuzzer", "--hotkey", SIGNER.hotkey, "--staff")
        code = "from accounts.models import User; u = User.objects.get(username='fuzzer'); "
        instance.manage("shell", "-c", f"{code}u.set_password('{PASSWORD}'); u.save()")
        self.key = instance.manage("create_api_key", "fuzzer").strip()
        self.client = instance.client(self.key)
        self.forms = [Headers(Authorization=self.key), Hotkey(), session(instance)]
        self.logo = self._logo()

    def _logo(self) -> UUID:
        file = io.BytesIO()
        PIL.Image.new("RGB", (3, 3)).save(file, "PNG")
        answer = self.client.post("/logos/", files={"logo": file.getvalue()})
        return UUID(answer.raise_for_status().json()["logo_id"])

    def restore(self) -> None:
        """Makes again what guesses have deleted or ended."""
        for name, step in IMAGES.items():
            if self.client.get(f"/images/{name}:1").status_code == 404:
                sent = zipped(a_txt="a")
                made = send(self.client, script(step), sent, username="fuzzer", name=name)
                watch(self.client, made["image_id"])
        if self.client.get("/api_keys/kept").status_code == 404:
            order = {"name": "kept", "admin": True}
            self.client.post("/api_keys/", json=order).raise_for_status()

    def ask(self, case: Any) -> int:
        """Sends it under one form of credentials, the same for the same case; judges the answer."""
        what = repr((case.path_parameters, case.query, case.body)).encode(errors="replace")
        if "logo_id" in case.path_parameters and crc32(what) % 2:
            case.path_parameters["logo_id"] = str(self.logo)
        credentials = self.forms[crc32(what) % len(self.forms)]
        answer = case.call_and_validate(
            base_url=self.url,
            auth=credentials,
            timeout=60,
            excluded_checks=[negative_data_rejection] if said_in_text(case) else [],
        )
        status: int = answer.status_code
        return status


def said_in_text(case: Any) -> bool:
    """In forms and queries everything is text: what was to be wrong by its type may be right.

    `0`, `y` and `off` are booleans there too, and an age such as `10m` is a time.
    """
    fields = case.body if isinstance(case.body, dict) else {}
    typed = any(not isinstance(value, str | bytes) for value in fields.values())
    words = [*(case.query or {}).values(), *fields.values()]
    spelled = any(parse_bool(value) is not None for value in words)
    return spelled or (typed and case.media_type == "multipart/form-data")


def described(examples: int) -> Any:
    """The description, told what exists, so that guesses hit."""
    found = deepcopy(description())
    order = found["components"]["schemas"]["OrderRequest"]["properties"]
    order["username"]["enum"] = ["fuzzer"]
    order["logo_id"] = {"type": "string", "enum": ["", "__none__"]}
    args, labels = '{"A": "1", "_b": "ü"}', '{"com.example.team": "ü"}'
    order["build_args"] = {"type": "string", "enum": ["", "{}", args]}
    order["labels"] = {"type": "string", "enum": ["", "{}", labels]}
    rebuild = found["components"]["schemas"]["RebuildRequest"]["properties"]
    rebuild["build_args"] = {"type": "object", "enum": [{}, {"A": "1"}]}
    rebuild["target"] = {"type": "string", "enum": ["", "0"]}
    for path, operations in found["paths"].items():
        refs = ["kept"] if path.startswith("/api_keys/") else REFS
        known = {"ref": refs, "offset": CURSORS, "Last-Event-ID": CURSORS}
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "wait":
                    # An image that does not change would be waited for.
                    parameter["schema"] = {"type": "integer", "minimum": 0, "maximum": 0}
                if parameter["name"] in known:
                    guess = {"enum": known[parameter["name"]]}
                    parameter["schema"] = {"anyOf": [guess, parameter["schema"]]}
    config = {
        "generation": {
            "max-examples": examples,
            "mode": "all",
            # Ours are set on each request; guessed ones beside them would only be refused.
            "with-security-parameters": False,
        },
        "suppress-health-check": ["all"],
        # No schema can say that only these are accepted: cursors that were given out, attempts
        # that there are, real pictures, a key for something, an order with one Dockerfile, a
        # context that is an archive, addresses of the internet.
        "operations": [
            {
                "include-operation-id": [
                    *("get_logs", "get_log_events", "get_log_text", "get_log_json_lines"),
                    *("create_logo", "create_api_key", "create_image"),
                    *("create_webhook", "change_webhook"),
                ],
                "checks": {
                    "positive_data_acceptance": {
                        "expected-statuses": ["2xx", "304", "404", "409", "416", "422", "429"]
                    }
                },
            }
        ],
    }
    return schemathesis.openapi.from_dict(found, config=schemathesis.Config.from_dict(config))


SOME, MANY = described(12), described(130)
UNCREDENTIALED = [negative_data_rejection, positive_data_acceptance]
"""Whoever sends no credentials is told so first, whatever else is right or wrong."""


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzer]:
    running = Instance(
        tmp_path_factory.mktemp("schema") / "data",
        engine="scripted",
        SLIPWAY_DAILY_BUILDS="1000000",
        SLIPWAY_LOG_LEVEL="ERROR",
    )
    with running:
        found = Fuzzer(running)
        yield found
        found.client.close()


@pytest.fixture
def statuses(fuzzer: Fuzzer) -> Iterator[list[int]]:
    fuzzer.restore()
    seen: list[int] = []
    yield seen
    # 409 where nothing is under way that could be cancelled.
    assert any(200 <= status < 300 or status == 409 for status in seen), "nothing hit anything"


@pytest.mark.timeout(300)
@SOME.parametrize()
def test_every_operation_does_as_it_is_described(
    case: Any, fuzzer: Fuzzer, statuses: list[int]
) -> None:
    statuses.append(fuzzer.ask(case))


@pytest.mark.long
@pytest.mark.timeout(1800)
@MANY.parametrize()
def test_nobody_is_answered_as_it_is_described(case: Any, fuzzer: Fuzzer) -> None:
    case.call_and_validate(base_url=fuzzer.url, timeout=60, excluded_checks=UNCREDENTIALED)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_operations_one_after_the_other_do_as_they_are_described(fuzzer: Fuzzer) -> None:
    """Each step uses what an earlier one made: ids, names, numbers."""
    fuzzer.restore()

    class Steps(SOME.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"base_url": fuzzer.url, "auth": fuzzer.forms[0], "timeout": 60}

        def validate_response(self, response: Any, case: Any, **options: Any) -> None:
            excluded = [negative_data_rejection] if said_in_text(case) else []
            case.validate_response(response, excluded_checks=excluded)

    Steps.run(settings=settings(max_examples=60, stateful_step_count=8, deadline=None))


@pytest.mark.long
@pytest.mark.timeout(1800)
@MANY.parametrize()
def test_every_operation_does_as_it_is_described_at_length(
    case: Any, fuzzer: Fuzzer, statuses: list[int]
) -> None:
    statuses.append(fuzzer.ask(case))
