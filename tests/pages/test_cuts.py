"""The log over connections that are cut and a server that is restarted: no gap, no repeat."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from tests.cutter import Cutter
from tests.instance import Instance
from tests.pages.conftest import Open, check_whole, order
from tests.test_sse_clients import restart_soon

# Enough for every cut even where a slow machine hands over much at once.
TALK = [step for n in range(10) for step in (f"repeat 200 of {n}", "sleep 0.3")]
# Within the handshake, within the first lines, within a burst.
CUTS = [20, 700, 3_000, 5_000, 1_500]


@pytest.fixture
def line(instance: Instance) -> Iterator[Cutter]:
    with Cutter(instance.port, CUTS) as cutter:
        yield cutter
        assert not cutter.cuts, "the page did not come back often enough"


def test_a_network_that_is_cut_costs_no_line(
    client: httpx.Client, opened: Open, line: Cutter
) -> None:
    image_id = order(client, *TALK, public="true")
    with opened("") as page:
        page.goto(f"{line.url}/i/{image_id}")
        expect(page.locator("#head")).to_have_attribute("data-word", "succeeded", timeout=60_000)
        assert len(check_whole(page, client, image_id)) > 2_000


@pytest.mark.long
def test_a_restart_of_the_server_costs_no_line(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    image_id = order(client, *TALK)
    with opened() as page:
        page.goto(f"{instance.url}/i/{image_id}")
        expect(page.locator("#rows")).to_contain_text(re.compile("of [1-9]"))
        restart_soon(instance).join()
        expect(page.locator("#head")).to_have_attribute("data-word", "succeeded", timeout=60_000)
        lines = check_whole(page, client, image_id)
        assert sum(line.startswith("interrupted: ") for line in lines) == 1
