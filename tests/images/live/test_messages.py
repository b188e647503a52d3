"""docs/websocket.md tells the sizes and times that the server keeps to."""

from pathlib import Path

import pytest

from images.live.access_watch import ASK_SECONDS
from images.live.consumers import CREDIT_CHARACTERS, PING_SECONDS, SILENT_SECONDS
from images.live.messages import MESSAGE_CHARACTERS

PAGE = " ".join((Path(__file__).parents[3] / "docs/websocket.md").read_text().split())


@pytest.mark.parametrize(
    "told",
    [
        f"at most {MESSAGE_CHARACTERS:,} characters of text",
        f"at most {CREDIT_CHARACTERS:,} characters that are not acknowledged",
        f"every {ASK_SECONDS:.0f} seconds",
        f"when {PING_SECONDS:.0f} seconds passed",
        f"nothing for {SILENT_SECONDS:.0f} seconds",
    ],
)
def test_the_page_tells_what_the_server_does(told: str) -> None:
    assert told in PAGE
