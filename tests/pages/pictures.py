"""`python -m tests.pages.pictures`: takes the pictures in docs/ again, of pages as they are now.

The real engine builds, with tools that say what tools of their names do. The key that one of the
pictures shows is of an instance that is gone.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_IFREG
from zipfile import ZipFile, ZipInfo

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("SLIPWAY_DATA_DIR", tempfile.mkdtemp(prefix="slipway-pictures-"))

import django

django.setup()

from tests.instance import ROOT, Instance, send  # noqa: E402
from tests.pages.conftest import FLAGS, PASSWORD, settled, sign_in  # noqa: E402

COLOURS = 128
START = """FROM scratch
COPY bin /bin
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY . /app
"""
TOOLS = {
    "npm": """#!/bin/sh
if [ "$1" = ci ]; then
  for n in $(seq 12); do echo "npm http fetch GET 200 package-$n.tgz"; done
  echo "added 214 packages in 4s"
else
  echo "vite v7.1 building for production..."
  printf '\\033[32m\\342\\234\\223 48 modules transformed.\\033[0m\\n'
  sleep ${PAUSE:-0.1}
  for n in $(seq 6); do echo "dist/assets/index-$n.js  14.$n kB | gzip: 4.$n kB"; done
fi
""",
    "make": """#!/bin/sh
for n in $(seq 12); do echo "cc -O2 -c src/part$n.c"; done
echo "src/main.c:42: error: undefined reference to 'start'" >&2
echo "make: *** [Makefile:7: trainer] Error 1" >&2
exit 2
""",
    "pip": """#!/bin/sh
for n in $(seq 16); do echo "Collecting package-$n"; done
printf '\\033[31mERROR: No version satisfies the requirement numpyy==1.26\\033[0m\\n' >&2
echo "ERROR: No matching distribution found for numpyy==1.26" >&2
exit 1
""",
}
WEB = f"{START}RUN npm ci\nRUN npm run build\n"
SLOW = f"{START}RUN npm ci\nENV PAUSE=3000\nRUN npm run build\n"
TRAINER = f"{START}RUN make -C /app\n"
WORKER = f"{START}RUN pip install -r /app/requirements.txt\n"
MISSING = f"{START}COPY requirements.lock /app/\n"
Wait = Callable[[httpx.Client, str], object]


@dataclass(frozen=True, slots=True)
class Scene:
    """An instance with something to see, and a browser."""

    instance: Instance
    browser: Browser
    ids: dict[str, str]

    @contextmanager
    def page(self, who: str, width: int, height: int) -> Iterator[Page]:
        with self.browser.new_context(viewport={"width": width, "height": height}) as context:
            page = context.new_page()
            sign_in(page, self.instance.url, who, PASSWORD)
            yield page

    def take(
        self,
        name: str,
        who: str,
        path: str,
        size: tuple[int, int],
        prepare: Callable[[Page], object] = lambda _page: None,
    ) -> None:
        with self.page(who, *size) as page:
            if path.startswith("/admin/"):
                page.evaluate("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
            page.goto(f"{self.instance.url}{path}")
            prepare(page)
            page.wait_for_timeout(900)
            shot = Image.open(io.BytesIO(page.screenshot()))
        target = ROOT / "docs" / f"{name}.png"
        shot.convert("RGB").quantize(COLOURS).save(target, optimize=True)
        print(target.relative_to(ROOT), flush=True)  # noqa: T201  (it is a command)


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    context = _context()
    with Instance(folder / "data", engine="buildkit") as instance:
        people = ("alice", "bob")
        instance.manage(
            *("shell", "-v", "0", "-c"),
            "from accounts.models import User; from accounts.rights import make_operator; "
            f"[User.objects.create_user(name, '{PASSWORD}') for name in {people}]; "
            f"make_operator(User.objects.create_user('olga', '{PASSWORD}'))",
        )
        keys = {name: instance.manage("create_api_key", name).strip() for name in people}
        ids: dict[str, str] = {}

        def build(reference: str, dockerfile: str, wait: Wait = settled, **values: str) -> None:
            owner, _, rest = reference.partition("/")
            name, _, tag = rest.rpartition(":")
            values = {"username": owner, "name": name, "tag": tag, **values}
            with instance.client(keys[owner]) as client:
                made = send(client, dockerfile, context, **values)
                ids[reference] = str(made["image_id"])
                wait(client, ids[reference])

        build("alice/web-front:1.0", WEB, public="true", readme="What everybody sees first.")
        build("bob/docs:3", WEB, public="true")
        build("bob/gateway:0.9", WEB)
        build("alice/payments-api:2.1", WEB)
        build("alice/ml/trainer:1.2", TRAINER)
        build("bob/mailer:5", MISSING)
        build("bob/search-worker:nightly", WORKER, public="true")
        for reference in ("alice/web-front:1.1", "bob/billing:4.0"):
            build(reference, SLOW, _until_it_is_slow, public="true")
        for reference in ("bob/reports:1", "alice/ingest:7", "alice/ingest:8"):
            build(reference, WEB, lambda *_: None)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            yield Scene(instance, browser, ids)
            browser.close()


def _context() -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        archive.write("/bin/busybox", "bin/busybox")
        for name, text in TOOLS.items():
            tool = ZipInfo(f"bin/{name}")
            tool.external_attr = (S_IFREG | 0o755) << 16
            archive.writestr(tool, text)
        archive.writestr("requirements.txt", "numpyy==1.26\n")
    return file.getvalue()


def _until_it_is_slow(client: httpx.Client, image_id: str) -> None:
    for _ in range(400):
        if "transformed" in client.get(f"/images/{image_id}/logs/lines").text:
            return
        time.sleep(0.05)
    raise AssertionError("the build does not come to its long step")


def _choose(page: Page, *references: str) -> None:
    for reference in references:
        page.locator("#result_list tr", has_text=reference).locator("input").check()
    page.select_option("[name=action]", "delete_selected")
    page.click("[name=index]")


def _confirm_all(page: Page) -> None:
    page.check("#action-toggle")
    if page.locator("text=Select all").is_visible():
        page.click("text=Select all")
    page.select_option("[name=action]", "publish")
    page.click("[name=index]")
    page.click("#content [type=submit]")


def _issue(page: Page) -> None:
    page.click(".field-user .select2-selection")
    page.fill(".select2-search__field", "ali")
    page.click(".select2-results__option:text-is('alice')")
    page.fill("[name=label]", "laptop")
    page.check("[name=grants][value=all]")
    page.click("[name=_save]")
    page.wait_for_selector("#key")


def pages(at: Scene) -> None:
    """What owners and readers see."""
    at.take("page-list", "alice", "/", (1180, 430))
    for name, reference in (
        ("building", "alice/web-front:1.1"),
        ("failed", "bob/search-worker:nightly"),
        ("succeeded", "alice/web-front:1.0"),
    ):
        at.take(f"page-{name}", reference.partition("/")[0], f"/i/{at.ids[reference]}", (1180, 560))
    image = f"/i/{at.ids['alice/web-front:1.0']}"
    for tab in ("steps", "image"):
        at.take(f"page-{tab}", "alice", f"{image}?tab={tab}", (1180, 560))
    at.take("page-new", "alice", "/new", (1180, 640))
    at.take("page-phone", "bob", f"/i/{at.ids['bob/search-worker:nightly']}", (360, 640))


def admin(at: Scene) -> None:
    """What operators see."""
    image, build = "/admin/images/image/", "/admin/builds/build/"
    at.take("admin-front", "olga", "/admin/", (944, 560))
    at.take("admin-system", "olga", "/admin/system/", (944, 900))
    at.take("operating-images", "olga", image, (1200, 680))
    for name, reference in (
        ("failed", "alice/ml/trainer:1.2"),
        ("building", "alice/web-front:1.1"),
    ):
        path = f"{image}{at.ids[reference]}/change/"
        at.take(f"operating-image-{name}", "olga", path, (1200, 800))
    at.take(
        "operating-delete",
        "olga",
        image,
        (1200, 420),
        lambda page: _choose(page, "bob/docs:3", "alice/payments-api:2.1", "alice/ml/trainer:1.2"),
    )
    at.take("operating-queue", "olga", f"{build}queue/", (1200, 560))

    def waits(page: Page) -> None:
        page.click("#content a:has-text('bob/reports:1')")

    at.take("operating-build-waits", "olga", f"{build}queue/", (1200, 560), waits)
    at.take("operating-failures", "olga", f"{build}failures/", (1200, 420))
    at.take("operating-users", "olga", "/admin/accounts/user/", (1200, 480))
    at.take("operating-key", "olga", "/admin/accounts/apikey/add/", (900, 420), _issue)


def many(at: Scene) -> None:
    """Thousands of images at once; last, as nothing else is to show so many."""
    code = (
        "from accounts.models import User; from builds.status import Status; "
        "from tests.images.test_admin import made; "
        "made(User.objects.get(username='bob'), 2_000, Status.FAILED)"
    )
    at.instance.manage("shell", "-v", "0", "-c", code)
    at.take("operating-progress", "olga", "/admin/images/image/?q=made", (1200, 360), _confirm_all)


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="slipway-pictures-") as folder,
        scene(Path(folder)) as at,
    ):
        pages(at)
        admin(at)
        many(at)


if __name__ == "__main__":
    main()
