"""The code in docs/guides does what it says, against a whole Slipway."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.accounts.keypair import Keypair
from tests.conftest import script
from tests.instance import ROOT, Instance, send, watch

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

GUIDES = ROOT / "docs" / "guides"
NODE_MODULES = ROOT / "tests" / "node" / "node_modules"
CLIENTS = ROOT / ".venv-clients" / "bin"
SEED = 11
GOOD, BAD = script("echo hello"), script("echo hello", "exit 3")


def blocks(guide: str, language: str) -> list[str]:
    text = (GUIDES / f"{guide}.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("guides") / "data"
    with Instance(folder, engine="scripted", SLIPWAY_DAILY_BUILDS="1000") as running:
        running.manage("create_user", "signer", "--hotkey", Keypair(SEED).hotkey)
        yield running


@pytest.fixture
def client(instance: Instance) -> Iterator[httpx.Client]:
    with instance.client() as client:
        yield client


@pytest.fixture
def environment(instance: Instance) -> dict[str, str]:
    return {
        **os.environ,
        "SLIPWAY_URL": instance.url,
        "SLIPWAY_KEY": (instance.data_dir / "admin.key").read_text().strip(),
        "SLIPWAY_HOTKEY": Keypair(SEED).hotkey,
        "SLIPWAY_SEED": bytes([SEED] * 32).hex(),
        "DOCKERFILE": GOOD,
        "no_proxy": "127.0.0.1",
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the script of the guide, and a Dockerfile that builds and one that fails."""
    (tmp_path / "slipway-build.sh").write_text(blocks("waiting-in-ci", "sh")[0])
    (tmp_path / "Dockerfile").write_text(GOOD)
    (tmp_path / "Bad").write_text(BAD)
    return tmp_path


def run(command: list[str], cwd: Path, environment: dict[str, str], status: int = 0) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_keys_are_used_made_and_ended_with_curl(
    environment: dict[str, str], tmp_path: Path, client: httpx.Client
) -> None:
    first, second = blocks("authentication", "sh")
    assert json.loads(run(["sh", "-c", first], tmp_path, environment))["username"] == "admin"
    made = json.loads(run(["sh", "-c", second], tmp_path, environment))
    with httpx.Client(
        base_url=environment["SLIPWAY_URL"],
        headers={"Authorization": f"Bearer {made['secret_key']}"},
        trust_env=False,
    ) as reader:
        assert reader.get("/images/").status_code == 200
        refused = reader.post("/images/x:1/cancel")
        assert (refused.status_code, refused.json()["code"]) == (401, "insufficient_scope")
        assert client.delete("/api_keys/ci-reader").status_code == 200
        assert reader.get("/images/").status_code == 401


def test_hotkeys_sign_in_python(environment: dict[str, str], tmp_path: Path) -> None:
    [code] = blocks("authentication", "python")
    said = run([sys.executable, "-c", code], tmp_path, environment)
    assert said.split("\n")[:3] == ["signer", "pending build", "signed-py"]


def test_hotkeys_sign_in_javascript(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "signed.mjs").write_text(blocks("authentication", "javascript")[0])
    said = run(["node", "signed.mjs"], tmp_path, environment)
    assert said.split("\n")[:3] == ["signer", "pending build", "signed-js"]


@pytest.mark.parametrize(("dockerfile", "status"), [("Dockerfile", 0), ("Bad", 1)])
def test_a_shell_script_waits_and_fails_with_the_build(
    environment: dict[str, str], project: Path, dockerfile: str, status: int
) -> None:
    for _ in range(2):
        command = ["sh", "slipway-build.sh", "shell-app", "1", dockerfile]
        assert "hello" in run(command, project, environment, status)


def test_a_shell_script_fails_where_nothing_is_accepted(
    environment: dict[str, str], project: Path
) -> None:
    command = ["sh", "slipway-build.sh", "shell-app", "no tag", "Dockerfile"]
    run(command, project, environment, 22)


@pytest.mark.parametrize(("dockerfile", "status"), [("Dockerfile", 0), ("Bad", 1)])
def test_python_waits_and_fails_with_the_build(
    environment: dict[str, str], project: Path, dockerfile: str, status: int
) -> None:
    [code] = blocks("waiting-in-ci", "python")
    command = [sys.executable, "-c", code, "python-app", "1", dockerfile]
    assert "hello" in run(command, project, environment, status)


@pytest.mark.parametrize(("content", "status"), [(GOOD, 0), (BAD, 2)])
def test_make_fails_with_the_build(
    environment: dict[str, str], project: Path, content: str, status: int
) -> None:
    (project / "Makefile").write_text(blocks("waiting-in-ci", "make")[0])
    (project / "Dockerfile").write_text(content)
    assert "hello" in run(["make", "image", "TAG=2"], project, environment, status)


@pytest.mark.parametrize(("content", "status"), [(GOOD, 0), (BAD, 1)])
def test_the_steps_of_github_and_gitlab_fail_with_the_build(
    environment: dict[str, str], project: Path, content: str, status: int
) -> None:
    (project / "Dockerfile").write_text(content)
    github, gitlab = map(yaml.safe_load, blocks("waiting-in-ci", "yaml"))
    steps = [github["jobs"]["image"]["steps"][-1]["run"], *gitlab["image"]["script"]]
    for number, step in enumerate(steps):
        names = {"GITHUB_SHA": f"a{number}", "CI_COMMIT_SHA": f"b{number}"}
        said = run(["sh", "-c", step], project, {**environment, **names}, status)
        assert "hello" in said


def test_a_generated_python_client_reads_an_image(
    environment: dict[str, str], tmp_path: Path, client: httpx.Client
) -> None:
    watch(client, send(client, GOOD, b"PK\x05\x06" + bytes(18), name="my-app")["image_id"])
    (tmp_path / "generators.yml").write_text(blocks("generated-clients", "yaml")[0])
    _, generate = blocks("generated-clients", "sh")[0].split("\n", 1)
    path = f"{CLIENTS}:{environment['PATH']}"
    run(["sh", "-c", generate], tmp_path, {**environment, "PATH": path})
    [code] = blocks("generated-clients", "python")
    said = run([str(CLIENTS / "python"), "-c", code], tmp_path, environment)
    assert "hello" in said
    assert said.endswith("built and pushed\n")


def test_a_generated_typescript_client_reads_an_image(
    environment: dict[str, str], tmp_path: Path, client: httpx.Client
) -> None:
    watch(
        client,
        send(client, GOOD, b"PK\x05\x06" + bytes(18), name="my-app", replace="true")["image_id"],
    )
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "use.ts").write_text(blocks("generated-clients", "typescript")[0])
    _, generate = blocks("generated-clients", "sh")[1].split("\n", 1)
    run(["sh", "-c", generate], tmp_path, environment)
    assert shutil.which("node")
    options = ["--strict", "--skipLibCheck", "--target", "ES2022", "--module", "ESNext"]
    command = ["npx", "tsc", *options, "--moduleResolution", "bundler", "use.ts"]
    run(command, tmp_path, environment)
    assert run(["node", "use.js"], tmp_path, environment) == "built and pushed\n"
