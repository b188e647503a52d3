"""Steps in the log of the page: their states, times and names, while they run and afterwards."""

import re
from pathlib import Path

import httpx
from playwright.sync_api import Locator, Page, Route, expect

from tests.instance import Instance
from tests.pages.conftest import Open, check_whole, order, settled

BESIDE = """FROM scratch AS build
ENV A=b
RUN scripted: cached
RUN scripted: echo make 1 ;; until {one} ;; echo make 2 ;; until {two} ;; echo make 3
FROM scratch
RUN scripted: until {beside} ;; echo test 1 ;; until {end} ;; {last}
COPY --from=build /a /b
CMD ["x"]
"""


class Gates:
    """Files that a scripted build waits for."""

    def __init__(self, folder: Path) -> None:
        self.one, self.beside = folder / "one", folder / "beside"
        self.two, self.end = folder / "two", folder / "end"

    def dockerfile(self, last: str) -> str:
        return BESIDE.format(**vars(self), last=last)


def printed(page: Page, text: str) -> Locator:
    return page.locator("#rows .row:not(.heading)", has_text=text)


def heading(page: Page, text: str) -> Locator:
    return page.locator("#rows .heading", has_text=text)


def test_steps_side_by_side_show_their_states_and_times_live(
    client: httpx.Client, instance: Instance, page: Page, public_path: Path
) -> None:
    gates = Gates(public_path)
    image_id = order(client, dockerfile=gates.dockerfile("stderr test 2"))
    page.goto(f"{instance.url}/i/{image_id}")
    make, test = heading(page, "STEP 4/8: [build] RUN"), heading(page, "STEP 6/8: [stage-1] RUN")
    for each in (make, test):
        expect(each.locator(".sign.running")).to_have_text("◐")
        expect(each.locator(".took")).to_have_text(re.compile(r"^0:0[1-9]$"))
    expect(heading(page, "STEP 3/8 (cached): [build]").locator(".sign.cached")).to_have_count(1)
    expect(heading(page, "STEP 2/8: [build] ENV A=b").locator(".sign.succeeded")).to_have_text("●")
    gates.beside.touch()
    expect(printed(page, "test 1")).to_be_visible()
    gates.one.touch()
    expect(printed(page, "make 2")).to_be_visible()
    again = heading(page, "STEP 4/8 (continued): [build] RUN")
    expect(again).to_have_count(1)
    expect(again.get_by_role("button", name="Step 4, continued")).to_be_visible()
    button = make.get_by_role("button", name="Step 4", exact=True)
    page.keyboard.press("f")  # following draws the rows on the way to the end again
    button.focus()
    gates.two.touch()
    expect(make.locator(".sign.succeeded")).to_have_text("●")
    expect(test.locator(".sign.running")).to_have_count(1)
    expect(button).to_be_focused()
    gates.end.touch()
    assert settled(client, image_id) == "succeeded"
    expect(page.locator("#log")).to_have_attribute("data-ended", "yes")
    for each in (make, test):
        expect(each.locator(".sign.succeeded")).to_have_text("●")
        expect(each.locator(".took")).to_have_text(re.compile(r"^0:\d\d$"))
    expect(page.locator(".sign.running, .took[data-since]")).to_have_count(0)
    check_whole(page, client, image_id)


def test_the_failed_step_opens_with_all_its_parts_and_its_neighbours_fold(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path
) -> None:
    gates = Gates(public_path)
    text = gates.dockerfile("raw ERR\\x4fR: it broke\\n ;; exit 3").replace(
        "echo make 3", "echo error of a neighbour ;; sleep 60"
    )
    image_id = order(
        client, dockerfile=text.replace(f"until {gates.two} ;; echo error", "echo error")
    )
    gates.one.touch()
    with opened() as live, opened() as later:
        live.goto(f"{instance.url}/i/{image_id}")
        expect(printed(live, "error of a neighbour")).to_be_visible()
        gates.beside.touch()
        expect(printed(live, "test 1")).to_be_visible()
        gates.end.touch()
        assert settled(client, image_id) == "failed"
        later.goto(f"{instance.url}/i/{image_id}")
        for page in (live, later):
            expect(page.locator(".row.error .text")).to_have_text("ERROR: it broke")
            failed, stopped = heading(page, "STEP 6/8"), heading(page, "STEP 4/8")
            expect(failed.first.locator(".sign.failed")).to_have_text("✕")
            expect(failed.first.locator(".took")).to_have_text(re.compile(r"^failed, 0:\d\d$"))
            expect(stopped.first.locator(".sign.cancelled")).to_have_text("⊘")
        expect(printed(later, "test 1")).to_be_visible()
        expect(printed(later, "make 2")).to_have_count(0)


def test_forged_progress_makes_no_fold_and_no_state(
    client: httpx.Client, instance: Instance, page: Page, public_path: Path
) -> None:
    gate = public_path / "go"
    forged = ("STEP 2/2: RUN x", "STEP 9/9 (cached): RUN y", "#7 DONE 0.0s", "--> CACHED")
    image_id = order(
        client, " ;; ".join(["raw \\x0a", *(f"echo {each}" for each in forged), f"until {gate}"])
    )
    page.goto(f"{instance.url}/i/{image_id}")
    expect(printed(page, "--> CACHED")).to_be_visible()
    expect(page.locator("#rows .heading")).to_have_count(2)
    expect(page.locator("#step")).to_have_text("Step 2 of 2")
    gate.touch()
    assert settled(client, image_id) == "succeeded"
    page.reload()
    expect(page.locator("#rows .heading")).to_have_count(2)
    expect(page.locator("#rows .sign.cached")).to_have_count(0)


def test_a_line_without_a_heading_of_its_step_says_whose_it_is(
    client: httpx.Client, instance: Instance, page: Page
) -> None:
    image_id = order(client, "echo one")
    settled(client, image_id)

    def answer(route: Route) -> None:
        found = route.fetch()
        body = found.json()
        if body["lines"]:
            body["lines"].append(["stdout", "a stray line", body["lines"][-1][2], 1])
            body["total"] += 1
        route.fulfill(json=body)

    page.route("**/logs/lines?*", answer)
    page.goto(f"{instance.url}/i/{image_id}")
    expect(page.locator("#rows .row", has_text="a stray line").locator(".stray")).to_have_text("1")
    expect(page.locator("#rows .stray")).to_have_count(1)
