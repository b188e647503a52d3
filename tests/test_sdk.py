"""The unmodified command line `chutes` from PyPI against a whole Slipway with the real engine.

Its default base image comes through a mirror of Docker Hub, which is a path in this instance's own
registry: a user `hub` built a stand-in for it there.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from uuid import NAMESPACE_OID, uuid5
from zipfile import ZipFile

import httpx
import pytest
from PIL import Image as Picture

from tests.accounts.keypair import Keypair
from tests.instance import Instance, send, watch
from tests.sdk import CHUTES, CommandLine

pytestmark = [pytest.mark.sdk, pytest.mark.long, pytest.mark.timeout(600)]

BASE = 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n'
TICKS = 'run_command("for i in 1 2 3 4 5 6 7 8 9; do echo tick $i; sleep 1; done")'


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    assert CHUTES.exists(), "run `make test-sdk`"
    running = Instance(tmp_path_factory.mktemp("sdk") / "data", engine="buildkit")
    running.environment["SLIPWAY_REGISTRY_MIRRORS"] = f"docker.io={running.registry}/hub"
    # The mirror and the server that gives its tokens are on loopback addresses.
    web = f"127.0.0.1:{running.port}"
    running.environment["SLIPWAY_PRIVATE_REGISTRIES"] = f"{running.registry},{web}"
    running.environment["SLIPWAY_INSECURE_REGISTRIES"] = running.registry
    with running:
        make_base(running)
        yield running


def make_base(instance: Instance) -> None:
    """`parachutes/python:3.12`: busybox is all that these tests run in it."""
    instance.manage("create_user", "hub")
    key = instance.manage("create_api_key", "hub").strip()
    context = io.BytesIO()
    with ZipFile(context, "w") as archive:
        archive.write("/bin/busybox", "busybox")
    what = {"username": "hub", "name": "parachutes/python", "tag": "3.12", "public": "true"}
    with instance.client(key) as client:
        send(client, BASE, context.getvalue(), **what)
        assert watch(client, "parachutes/python:3.12")[1] == "built and pushed"


@pytest.fixture(scope="module")
def installed(
    instance: Instance, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int], CommandLine]:
    """Makes a user with a hotkey, and the command line that has its seed."""

    def install(username: str, seed: int) -> CommandLine:
        made = instance.manage("create_user", username, "--hotkey", Keypair(seed).hotkey)
        return CommandLine(
            tmp_path_factory.mktemp(username),
            url=instance.url,
            username=username,
            user_id=json.loads(made)["user_id"],
            seed=seed,
        )

    return install


@pytest.fixture(scope="module")
def chutes(installed: Callable[[str, int], CommandLine]) -> CommandLine:
    return installed("Owner", 21)


@pytest.fixture
def client(instance: Instance, chutes: CommandLine) -> Iterator[httpx.Client]:
    with instance.client(instance.manage("create_api_key", chutes.username).strip()) as client:
        yield client


def id_of(name: str, tag: str = "1") -> str:
    """As the command line computes it."""
    return str(uuid5(NAMESPACE_OID, f"owner/{name}:{tag}".lower()))


def test_a_build_is_watched_while_it_runs(chutes: CommandLine, client: httpx.Client) -> None:
    said = chutes("build", chutes.module("watched", TICKS), "--wait")
    assert f"image_id={id_of('watched')}" in said
    assert re.findall(r"tick (\d)$", said, re.MULTILINE) == list("123456789")
    # Lines of the logger, each with its time: they were streamed, not printed as a finished log.
    times = re.findall(r"(\d\d:\d\d:\d\d)\.\d+ \|.* - tick [789]$", said, re.MULTILINE)
    assert len(set(times)) == 3, said
    assert "Built and pushed as sha256:" in said
    # At once afterwards: the end was said only when the status said so too.
    assert client.get("/images/watched:1").json()["status"] == "built and pushed"


def test_a_build_that_is_over_before_it_is_watched_is_printed_whole(chutes: CommandLine) -> None:
    said = chutes("build", chutes.module("quick", 'run_command("echo    indented")'), "--wait")
    assert "\nindented" in said
    assert said.rstrip().splitlines()[-1].startswith("Built and pushed as sha256:")


def test_a_build_with_the_whole_folder_ships_it_and_obeys_no_dockerfile_in_it(
    instance: Instance, chutes: CommandLine, client: httpx.Client
) -> None:
    (chutes.work / "Dockerfile").write_text("FROM scratch\nRUN exit 99\n")
    (chutes.work / "data").mkdir()
    (chutes.work / "data" / "notes.txt").write_text("noted\n")
    reference = chutes.module("whole-folder")
    said = chutes("build", reference, "--include-cwd", "--public", "--wait")
    assert "Built and pushed as sha256:" in said
    image = client.get("/images/whole-folder:1").json()
    assert image["public"] is True
    assert image["readme"] == "made by a test"
    base = f"{instance.registry}/owner/whole-folder:1"
    steps = f'from_base("{base}")', 'run_command("cd /app; find . -type f | sort; cat data/*")'
    said = chutes("build", chutes.module("on-top", *steps), "--wait")
    (chutes.work / "Dockerfile").unlink()
    assert "\n./data/notes.txt\n" in said
    assert "\n./mod.py\n" in said
    assert "\nnoted\n" in said
    assert "chute.zip" not in said


def test_a_build_with_a_logo_has_it(chutes: CommandLine, client: httpx.Client) -> None:
    Picture.new("RGB", (64, 64), "teal").save(chutes.work / "logo.png")
    said = chutes("build", chutes.module("with-logo"), "--logo", "logo.png", "--wait")
    assert "Built and pushed as sha256:" in said
    image = client.get("/images/with-logo:1").json()
    assert image["logo_id"]
    assert image["logo"].endswith(f"/logos/{image['logo_id']}.webp")


def test_a_build_of_an_image_that_exists_says_so(chutes: CommandLine) -> None:
    reference = chutes.module("Twice", tag="V1")
    chutes("build", reference, "--wait")
    said = chutes("build", reference, "--wait", code=1)
    assert "Image with name=Twice and tag=V1 already exists!" in said


def test_a_failing_build_shows_its_reason_and_ends(
    chutes: CommandLine, client: httpx.Client
) -> None:
    step = 'run_command("sleep 6; echo about to fail; exit 42")'
    said = chutes("build", chutes.module("failing", step), "--wait")
    assert "about to fail" in said
    reason = client.get("/images/failing:1").json()["status"].removeprefix("error: ")
    assert "42" in reason
    # The logger's level for what is not stdout.
    assert re.search(r"WARNING +\|.* - " + re.escape(reason), said)


def test_a_base_that_does_not_exist_is_named(chutes: CommandLine) -> None:
    said = chutes("build", chutes.module("baseless", 'from_base("nobody/nothing:1")'), "--wait")
    assert "nobody/nothing:1 could not be pulled" in said


def test_a_build_in_another_users_name_gets_the_authorization_message(chutes: CommandLine) -> None:
    said = chutes("build", chutes.module("foreign", username="hub"), "--wait")
    assert "Authorization error, please check your credentials." in said


def test_wrong_credentials_are_told_what_is_wrong(
    instance: Instance, chutes: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    unknown = CommandLine(
        tmp_path_factory.mktemp("unknown"), url=instance.url, username="x", user_id="x", seed=99
    )
    text = f"Could not find user with hotkey: {Keypair(99).hotkey}"
    assert text in unknown("images", "list")
    assert text in unknown("build", unknown.module("unknown"), "--wait", code=1)
    config = chutes.config.read_text()
    forged = config.replace(bytes([21] * 32).hex(), bytes([22] * 32).hex())
    chutes.config.write_text(forged)
    try:
        assert "Invalid request signature for hotkey" in chutes("images", "list")
    finally:
        chutes.config.write_text(config)


def test_images_are_listed_by_each_option(
    instance: Instance, installed: Callable[[str, int], CommandLine]
) -> None:
    lister = installed("lister", 31)
    for n in (1, 2, 3):
        lister("build", lister.module("listed", 'from_base("scratch")', tag=f"v{n}"))
    lister("build", lister.module("other_name", 'from_base("scratch")'))

    def listed(*options: str) -> tuple[str, list[str]]:
        said = lister("images", "list", *options)
        told = re.search(r"Found (\d+) matching images, displaying (\d+)", said)
        assert told, said
        rows = re.findall(r"[0-9a-f-]{36} +│ +(\S+) +│ +(\S+) +│", said)
        assert len(rows) == int(told[2])
        return told[1], [":".join(row) for row in rows]

    every = ["other_name:1", "listed:v3", "listed:v2", "listed:v1"]
    assert listed() == ("4", every)
    assert listed("--name", "LIST") == ("3", every[1:])
    assert listed("--name", "r_n") == ("1", every[:1])
    assert listed("--limit", "2") == ("4", every[:2])
    assert listed("--limit", "3", "--page", "1") == ("4", every[3:])
    total, rows = listed("--include-public")
    assert int(total) >= 5
    assert {*every, "parachutes/python:3.12"} <= set(rows)
    assert listed("--name", "nothing-like-it") == ("0", [])


def test_an_image_is_got_in_every_spelling_and_deleted_once(chutes: CommandLine) -> None:
    chutes("build", chutes.module("Found-It", tag="V1"))
    for spelling in (
        id_of("Found-It", "V1"),
        "Found-It:V1",
        "Owner/Found-It:V1",
        "owner/found-it:v1",
        "Found-It",
    ):
        said = chutes("images", "get", spelling)
        assert f"image {id_of('Found-It', 'V1')}:" in said, spelling
        assert json.loads(said[said.index("{") :])["tag"] == "V1"
    deleted = chutes("images", "delete", "Found-It:V1")
    assert f"Successfully deleted image {id_of('Found-It', 'V1')}" in deleted
    missing = "Image not found, or does not belong to you"
    assert missing in chutes("images", "get", "Found-It:V1")
    assert missing in chutes("images", "delete", "Found-It:V1")
    # The name is free again, with the same id.
    again = chutes("build", chutes.module("Found-It", tag="V1"))
    assert f"image_id={id_of('Found-It', 'V1')}" in again


def test_keys_are_made_listed_got_and_deleted(instance: Instance, chutes: CommandLine) -> None:
    said = chutes("keys", "create", "--name", "reader", "--images", "--action", "read")
    assert "API key created successfully" in said
    [secret] = re.findall(r"Authorization: Basic (cpk_\S{98})\"", said)
    with instance.client(f"Basic {secret}") as reader:
        assert reader.get("/images/").status_code == 200
        assert reader.delete("/images/nothing:1").status_code == 401
    listed = chutes("keys", "list")
    [identity] = re.findall(r"(\S+) +│ +reader +│", listed)
    assert '"object_type": "images"' in listed
    assert "reader" in chutes("keys", "get", identity)
    assert f"Successfully deleted api_key {identity}" in chutes("keys", "delete", identity)
    assert identity not in chutes("keys", "list")
    with instance.client(f"Basic {secret}") as reader:
        assert reader.get("/images/").status_code == 401
