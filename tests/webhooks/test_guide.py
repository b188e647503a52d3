"""The code of docs/webhooks.md does what it says."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from webhooks.models import EVENTS
from webhooks.signing import new_secret, signature

GUIDE = (Path(settings.BASE_DIR) / "docs/webhooks.md").read_text()
BODY = '{"event": "test", "name": "ü"}'.encode()


def code(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    return found[1]


def cases() -> list[tuple[str, str, bytes, bool]]:
    """Secret, header, body, and whether they belong together."""
    secret, now = new_secret(), int(time.time())
    good = signature(secret, BODY, now)
    return [
        (secret, good, BODY, True),
        (new_secret(), good, BODY, False),
        (secret, good, BODY + b" ", False),
        (secret, good[:-1] + ("0" if good[-1] != "0" else "1"), BODY, False),
        (secret, re.sub(r"t=\d+", f"t={now + 1}", good), BODY, False),
        (secret, signature(secret, BODY, now - 600), BODY, False),
        (secret, good[:-2], BODY, False),
    ]


def test_the_python_of_the_guide_tells_what_is_genuine() -> None:
    names: dict[str, Any] = {}
    exec(code("python"), names)
    for secret, header, body, genuine in cases():
        assert names["is_genuine"](secret, header, body) is genuine


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_javascript_of_the_guide_tells_what_is_genuine() -> None:
    given = [[secret, header, body.hex()] for secret, header, body, _ in cases()]
    asks = f"""
        const given = {json.dumps(given)};
        const told = given.map(([s, h, b]) => isGenuine(s, h, Buffer.from(b, "hex")));
        console.log(JSON.stringify(told));
    """
    program = code("javascript") + asks
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [genuine for *_, genuine in cases()]


def test_the_guide_names_every_event() -> None:
    assert set(EVENTS) <= set(re.findall(r"`([a-z_]+)`", GUIDE))
