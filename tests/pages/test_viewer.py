"""The log in a browser: every line once and in order, whatever is in it and wherever one looks."""

import re
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from tests.instance import Instance
from tests.pages.conftest import Open, check_whole, order, settled

CHATTER = [step for n in range(8) for step in (f"repeat 60 of {n}", "sleep 0.15")]
STAGES = "".join(f"LABEL step={n}\nRUN scripted: repeat 20 of stage {n}\n" for n in range(1, 5))
HOSTILE = [
    "echo <img src=x onerror=alert(1)><script>alert(2)</script>",
    "raw \\x1b]8;;https://evil.example\\x1b\\\\click\\x1b]8;;\\x1b\\\\ \\x1b]0;title\\x07\\n",
    "raw over\\x1b[2J\\x1b[1;1Hwritten \\x08\\x7f \\x1b[8mconcealed\\x1b[0m\\n",
    "raw \\x1b[31mred \\x1b[1;44mon blue\\x1b[0m \\x1b[38;5;208mnear\\x1b[0m plain\\n",
    "echo admin\u202egnp.exe \u2066isolated\u200b \ufeff",
    "echo \u05e9\u05dc\u05d5\u05dd hello 漢字 🙂",
    "long 1000000 x",
]


def row(page: Page, number: int) -> str:
    return f'#rows .row[data-line="{number}"]'


def test_a_viewer_opened_before_during_and_after_a_build_shows_every_line_once(
    client: httpx.Client, instance: Instance, opened: Open, public_path: Path
) -> None:
    gate = public_path / "go"
    image_id = order(client, "echo first", f"until {gate}", *CHATTER)
    with opened() as before, opened() as during, opened() as after:
        before.goto(f"{instance.url}/i/{image_id}")
        expect(before.locator("#rows")).to_contain_text("first")
        gate.touch()
        expect(before.locator("#rows")).to_contain_text(re.compile("of [2-7]"))
        during.goto(f"{instance.url}/i/{image_id}")
        assert settled(client, image_id) == "succeeded"
        after.goto(f"{instance.url}/i/{image_id}")
        for page in (before, during, after):
            expect(page.locator("#head")).to_have_attribute("data-word", "succeeded")
            lines = check_whole(page, client, image_id)
            assert len(lines) > 480


def test_whoever_is_signed_out_reads_a_public_log(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    image_id = order(client, *CHATTER, public="true")
    with opened("") as page:
        page.goto(f"{instance.url}/i/{image_id}")
        expect(page.locator("#head")).to_have_attribute("data-word", "succeeded", timeout=20_000)
        check_whole(page, client, image_id)
        expect(page.locator(".actions #share")).to_be_visible()
        assert page.locator(".actions").locator("form, details, a").count() == 0


def test_without_websockets_the_log_comes_as_events(
    client: httpx.Client, instance: Instance, page: Page, public_path: Path
) -> None:
    go, seen = public_path / "go", public_path / "seen"
    page.add_init_script("delete window.WebSocket")
    # Following what comes after the steps scrolls their headings out of the document.
    image_id = order(client, f"until {go}", f"until {seen}", *CHATTER)
    page.goto(f"{instance.url}/i/{image_id}")
    expect(page.locator("#rows .heading button")).to_have_count(2)
    go.touch()
    expect(page.locator("#rows .heading button")).to_have_count(3)
    seen.touch()
    expect(page.locator("#head")).to_have_attribute("data-word", "succeeded", timeout=20_000)
    check_whole(page, client, image_id)


def test_hostile_lines_are_shown_as_text_and_run_nothing(
    client: httpx.Client, instance: Instance, page: Page
) -> None:
    image_id = order(client, *HOSTILE)
    settled(client, image_id)
    page.goto(f"{instance.url}/i/{image_id}")
    rows = page.locator("#rows")
    expect(rows).to_contain_text("<img src=x onerror=alert(1)><script>alert(2)</script>")
    expect(rows).to_contain_text("click ")
    expect(rows).to_contain_text("overwritten ^H^? concealed")
    expect(rows).to_contain_text("red on blue near plain")
    expect(rows).to_contain_text("admin<U+202E>gnp.exe <U+2066>isolated<U+200B> <U+FEFF>")
    assert page.locator("#rows img, #rows script, #rows a:not(.number)").count() == 0
    assert page.locator("#rows .back-4").inner_text() == "on blue"
    assert page.title().startswith("admin/")
    page.keyboard.press("w")
    page.keyboard.press("G")
    expect(rows).to_contain_text("Built and pushed")


def test_steps_fold_and_open_by_real_buttons(
    client: httpx.Client, instance: Instance, page: Page
) -> None:
    image_id = order(client, dockerfile=f"FROM scratch\n{STAGES}")
    settled(client, image_id)
    page.goto(f"{instance.url}/i/{image_id}")
    second = page.get_by_role("button", name="Step 3", exact=True)
    expect(second).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#rows")).to_contain_text("19 of stage 1")
    second.press("Enter")
    expect(second).to_have_attribute("aria-expanded", "false")
    expect(second).to_be_focused()
    expect(page.locator("#rows")).not_to_contain_text("19 of stage 1")
    second.press("Enter")
    expect(page.locator("#rows")).to_contain_text("19 of stage 1")
    page.click("#fold")
    expect(page.get_by_role("button", name="Step")).to_have_count(9)
    expect(page.locator("#rows")).not_to_contain_text("19 of stage")
    page.click("#fold")
    check_whole(page, client, image_id)


def test_a_failed_build_opens_at_its_first_error(
    client: httpx.Client, instance: Instance, page: Page
) -> None:
    bad = "RUN scripted: echo fine ;; stderr ERROR: no such thing ;; repeat 50 after ;; exit 4\n"
    image_id = order(client, dockerfile=f"FROM scratch\n{STAGES}LABEL last=1\n{bad}")
    assert settled(client, image_id) == "failed"
    page.goto(f"{instance.url}/i/{image_id}")
    expect(page.locator(".reason")).to_contain_text("RUN failed with exit code 4.")
    expect(page.locator(".row.error")).to_contain_text("ERROR: no such thing")
    expect(page.locator(".row.error")).to_be_in_viewport()
    expect(page.locator("#rows")).not_to_contain_text("19 of stage")
    page.keyboard.press("G")
    page.keyboard.press("e")
    expect(page.locator(".row.error")).to_be_in_viewport()


def test_a_build_that_fails_while_one_watches_is_told_without_a_reload(
    client: httpx.Client, instance: Instance, page: Page
) -> None:
    image_id = order(client, "repeat 5 of it", "sleep 1", "stderr fatal: it broke ;; exit 2")
    page.goto(f"{instance.url}/i/{image_id}")
    expect(page.locator(".reason")).to_contain_text("exit code 2", timeout=20_000)
    expect(page.locator(".row.error")).to_contain_text("fatal: it broke")
    expect(page).to_have_title(re.compile("failed"))
    # And that it is built once more from elsewhere, while this log stays where it is.
    client.post(f"/images/{image_id}/rebuild").raise_for_status()
    expect(page.locator(".attempts a")).to_have_count(2)
    expect(page.locator("#head")).to_have_attribute("data-attempt", "1")
    expect(page.locator("#rows")).to_contain_text("fatal: it broke")


def test_links_to_lines_mark_them_and_keep_the_place(
    client: httpx.Client, instance: Instance, page: Page
) -> None:
    image_id = order(client, "repeat 3000 of many")
    settled(client, image_id)
    page.goto(f"{instance.url}/i/{image_id}#L2120-L2122")
    for number in (2120, 2121, 2122):
        expect(page.locator(f"{row(page, number)}.marked")).to_be_in_viewport()
    page.click(f"{row(page, 2118)} .number")
    assert page.url.endswith("?attempt=1#L2118")
    page.click(f"{row(page, 2121)} .number", modifiers=["Shift"])
    assert page.url.endswith("#L2118-L2121")
    expect(page.locator(".row.marked")).to_have_count(4)
    page.reload()
    expect(page.locator(f"{row(page, 2119)}.marked")).to_be_in_viewport()
    page.keyboard.press("g")
    page.keyboard.press("l")
    assert page.url.endswith("#L1")


def test_following_stops_by_scrolling_up_and_a_pill_counts_what_came(
    client: httpx.Client, instance: Instance, page: Page, public_path: Path
) -> None:
    gate, end = public_path / "go", public_path / "end"
    image_id = order(
        client, f"repeat 200 early ;; until {gate} ;; repeat 50 late ;; until {end} ;; echo last"
    )
    page.goto(f"{instance.url}/i/{image_id}")
    expect(page.locator("#rows")).to_contain_text("199 early")
    expect(page.locator("#follow")).to_have_attribute("aria-pressed", "true")
    page.hover("#scroller")
    page.mouse.wheel(0, -1500)
    expect(page.locator("#follow")).to_have_attribute("aria-pressed", "false")
    top = page.locator("#rows .row").first.get_attribute("data-line")
    gate.touch()
    expect(page.locator("#pill")).to_have_text("↓ 50 new lines")
    assert page.locator("#rows .row").first.get_attribute("data-line") == top
    page.click("#pill")
    expect(page.locator("#rows")).to_contain_text("49 late")
    expect(page.locator("#pill")).to_be_hidden()
    expect(page.locator("#follow")).to_have_attribute("aria-pressed", "true")
    end.touch()
    expect(page.locator("#rows")).to_contain_text("last")


def test_the_search_finds_every_hit_and_goes_round(
    client: httpx.Client, instance: Instance, page: Page
) -> None:
    parts = ("repeat 700 hay", "raw \\x4eeedle one\\n", "repeat 1700 hay", "raw \\x6eeedle\\n")
    image_id = order(client, " ;; ".join(parts))
    settled(client, image_id)
    page.goto(f"{instance.url}/i/{image_id}")
    expect(page.locator("#rows")).to_contain_text("0 hay")
    page.keyboard.press("/")
    page.keyboard.type("needle")
    expect(page.locator("#hits")).to_have_text("1 of 2")
    expect(page.locator(".row.hit mark")).to_have_text("Needle")
    page.keyboard.press("Enter")
    expect(page.locator("#hits")).to_have_text("2 of 2")
    page.focus("#scroller")
    page.keyboard.press("n")
    expect(page.locator("#hits")).to_have_text("1 of 2")
    page.keyboard.press("N")
    expect(page.locator("#hits")).to_have_text("2 of 2")
    expect(page.locator(".row.hit mark")).to_be_in_viewport()
    page.fill("#q", "hay")
    expect(page.locator("#hits")).to_contain_text("of 2,401")
    page.fill("#q", "<b>")
    expect(page.locator("#hits")).to_have_text("No line has it")


def test_wrap_times_copy_and_download(
    client: httpx.Client, instance: Instance, opened: Open
) -> None:
    image_id = order(client, "echo begin", f"echo {'long ' * 400}", "echo end")
    settled(client, image_id)
    with opened(permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(f"{instance.url}/i/{image_id}")
        long = page.locator(".row:not(.heading)", has_text="long long")
        expect(long).to_be_visible()
        page.click("#wrap")
        assert (long.bounding_box() or {"height": 0})["height"] > 40
        page.keyboard.press("w")
        assert (long.bounding_box() or {"height": 0})["height"] == 20
        page.click("#times")
        expect(page.locator(".row .time").first).to_have_text(
            re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$")
        )
        page.keyboard.press("t")
        expect(page.locator(".row .time").last).to_have_text(re.compile(r"^\+\d+:\d\d$"))
        archive = client.get(f"/images/{image_id}/logs").text
        page.click("#copy")
        expect(page.locator("#state")).to_have_text(re.compile(r"^Copied \d+ lines$"))
        assert page.evaluate("navigator.clipboard.readText()") == archive
        with page.expect_download() as download:
            page.click("#raw")
        assert Path(download.value.path()).read_text() == archive
        begin = page.locator(".row:not(.heading)", has_text="begin").first
        begin.locator(".number").click()
        page.click("#copy")
        expect(page.locator("#state")).to_have_text("Copied 1 marked line")
        assert page.evaluate("navigator.clipboard.readText()") == "begin"


def test_everything_is_reached_by_keyboard(
    client: httpx.Client, instance: Instance, page: Page
) -> None:
    image_id = order(client, "repeat 300 of it")
    settled(client, image_id)
    page.goto(f"{instance.url}/")
    page.get_by_role("link", name=re.compile(image_id and "app-")).first.focus()
    page.goto(f"{instance.url}/i/{image_id}")
    expect(page.locator("#rows")).to_contain_text("0 of it")
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
        if stops[-1] == "scroller":
            break
    for wanted in ("Sign out", "Rebuild", "Delete", "q", "fold", "wrap", "times", "copy", "raw"):
        assert wanted in stops
    page.keyboard.press("End")
    expect(page.locator("#rows")).to_contain_text("Built and pushed")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
