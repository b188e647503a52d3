"""Client generators and linters take the description, and two clients do everything with it.

openapi-generator is not among them: its package for npm fetches a jar from Maven when it runs.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.openapi import description
from tests.conftest import script
from tests.instance import ROOT, Instance

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
NODE = ROOT / "tests" / "node"
TOOLS = ROOT / ".venv-clients" / "bin"
DOCKERFILE = "FROM scratch\nARG GREETING\nRUN scripted: echo hello\n"
SLOW = script("sleep 60")
STRICT = {
    "strict": True,
    "target": "ES2022",
    "module": "ESNext",
    "moduleResolution": "bundler",
    "lib": ["ES2022", "DOM", "DOM.Iterable", "DOM.AsyncIterable"],
    "skipLibCheck": True,
    "types": [],
}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the description, and with the packages of npm."""
    (tmp_path / "openapi.json").write_text(json.dumps(description(), default=str))
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("clients") / "data", engine="scripted") as running:
        yield running


def npx(folder: Path, *command: str) -> str:
    return run(folder / "node_modules" / ".bin" / command[0], *command[1:], cwd=folder)


def check_types(folder: Path, *files: str, emit: bool = False) -> None:
    config = {"compilerOptions": {**STRICT, "noEmit": not emit}, "files": files}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    npx(folder, "tsc", "-p", "tsconfig.json")


def admin_key(instance: Instance) -> str:
    return (instance.data_dir / "admin.key").read_text().strip()


def test_redocly_finds_nothing(folder: Path) -> None:
    npx(folder, "redocly", "lint", "--config", str(HERE / "redocly.yaml"), "openapi.json")


def test_spectral_finds_nothing(folder: Path) -> None:
    rules = str(HERE / "spectral.yaml")
    npx(folder, "spectral", "lint", "--fail-severity", "warn", "-r", rules, "openapi.json")


def test_openapi_python_client_does_everything(folder: Path, instance: Instance) -> None:
    run(
        *(TOOLS / "openapi-python-client", "generate", "--path", "openapi.json"),
        *("--meta", "none", "--output-path", "slipway_client"),
        *("--config", HERE / "generators.yml"),
        cwd=folder,
    )
    shutil.copy(HERE / "use_python_client.py", folder)
    said = run(
        *(TOOLS / "python", "use_python_client.py", instance.url, admin_key(instance)),
        *(DOCKERFILE, SLOW),
        cwd=folder,
    )
    assert said == "done\n"


def test_openapi_fetch_does_everything(folder: Path, instance: Instance) -> None:
    npx(folder, "openapi-typescript", "openapi.json", "-o", "schema.d.ts")
    shutil.copy(HERE / "use_fetch_client.ts", folder)
    check_types(folder, "use_fetch_client.ts", emit=True)
    said = run(
        *("node", "use_fetch_client.js", instance.url, admin_key(instance), DOCKERFILE, SLOW),
        cwd=folder,
    )
    assert said == "done\n"


def test_orval_generates_what_compiles(folder: Path) -> None:
    settings = {"input": {"target": "openapi.json"}, "output": {"target": "orval.ts"}}
    settings["output"]["client"] = "fetch"
    config = f"module.exports = {json.dumps({'slipway': settings})}"
    (folder / "orval.config.cjs").write_text(config)
    npx(folder, "orval", "--config", "orval.config.cjs")
    check_types(folder, "orval.ts")


def test_hey_api_generates_what_compiles(folder: Path) -> None:
    npx(folder, "openapi-ts", "-i", "openapi.json", "-o", "hey", "-c", "@hey-api/client-fetch")
    check_types(folder, "hey/index.ts")


def test_datamodel_code_generator_generates_models(folder: Path) -> None:
    run(
        *(TOOLS / "datamodel-codegen", "--input", "openapi.json", "--input-file-type", "openapi"),
        *("--output", "models.py", "--output-model-type", "pydantic_v2.BaseModel"),
        cwd=folder,
    )
    example = description()["paths"]["/images/{ref}"]["get"]["responses"]["200"]
    body = json.dumps(example["content"]["application/json"]["example"], default=str)
    code = f"import models; models.ImageDetail.model_validate_json({body!r})"
    run(TOOLS / "python", "-c", code, cwd=folder)
