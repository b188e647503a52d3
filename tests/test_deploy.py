"""The files in deploy/ fit the code: variables, probes, ports, programs. Tools check the rest."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.urls import resolve

from config.env import Environment

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
KNOWN = {each.metadata["name"] for each in fields(Environment)}
OTHERS = {"SLIPWAY_IMAGE", "SLIPWAY_WORKER_IMAGE"}
"""Variables of compose alone."""
MANIFESTS = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from (each for each in yaml.safe_load_all(path.read_text()) if each)


def pods() -> Iterator[dict[str, Any]]:
    for each in documents():
        template = (each.get("spec") or {}).get("template")
        if template:
            yield template["spec"]


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()],
    ids=lambda path: str(path.relative_to(DEPLOY)),
)
def test_every_variable_of_slipway_that_is_named_exists(path: Path) -> None:
    named = set(
        re.findall(r"\b(?:SLIPWAY_[A-Z_]+[A-Z]|DATABASE_URL|REDIS_URL)\b", path.read_text())
    )
    plain = {name.removesuffix("_FILE") for name in named}
    assert plain - KNOWN - OTHERS == set()


def test_probes_ask_for_paths_and_ports_that_are_answered() -> None:
    probes = [
        (container, container[kind]["httpGet"])
        for pod in pods()
        for container in pod["containers"]
        for kind in ("livenessProbe", "readinessProbe", "startupProbe")
        if kind in container
    ]
    assert len(probes) >= 6
    for container, probe in probes:
        assert resolve(probe["path"].partition("?")[0])
        assert probe["port"] in {port["name"] for port in container["ports"]}


def test_every_selector_finds_pods() -> None:
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in documents()
        if (each.get("spec") or {}).get("template")
    ]
    for each in documents():
        if each["kind"] in {"Service", "PodDisruptionBudget", "NetworkPolicy"}:
            spec = each["spec"]
            selector = spec.get("selector") or spec.get("podSelector") or {}
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= found.items() for found in labels), each["metadata"]


def test_processes_get_the_time_that_they_take_to_stop() -> None:
    environment = next(each for each in documents() if each["kind"] == "ConfigMap")["data"]
    takes = int(environment["SLIPWAY_GRACE"]) + int(environment["SLIPWAY_STOP_DELAY"])
    graces = [
        pod["terminationGracePeriodSeconds"]
        for pod in pods()
        if "terminationGracePeriodSeconds" in pod
    ]
    assert len(graces) == 2
    assert all(grace > takes for grace in graces)


def test_compose_names_only_secrets_volumes_and_networks_that_it_has() -> None:
    compose = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    made = (DEPLOY / "compose/secrets.sh").read_text()
    for name, secret in compose["secrets"].items():
        assert secret["file"] == f"secrets/{name}"
        assert f"once {name} " in made
    for service in compose["services"].values():
        assert set(service.get("secrets", [])) <= compose["secrets"].keys()
        volumes = [each.partition(":")[0] for each in service.get("volumes", [])]
        assert {each for each in volumes if each[0] not in "./"} <= compose["volumes"].keys()
        assert set(service.get("networks", {})) <= compose["networks"].keys()


def test_units_and_images_run_commands_that_exist() -> None:
    commands = {path.stem for path in ROOT.glob("*/management/commands/*.py")} | {"migrate"}
    for unit in (DEPLOY / "systemd").glob("*.service"):
        [command] = re.findall(r"^ExecStart=.*manage\.py (\w+)", unit.read_text(), re.MULTILINE)
        assert command in commands
    for pod in pods():
        for container in pod["containers"]:
            assert container["args"][0] in commands


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    """What a program says that is to accept something."""
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/libexec/docker/cli-plugins"
    program = shutil.which(command[0], path=path)
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [program, *command[1:]],
        cwd=cwd,
        env={"PATH": path, "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.long
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """With a checkout where they look for one."""
    for unit in (DEPLOY / "systemd").iterdir():
        there = unit.read_text().replace("/opt/slipway/.venv/bin/python", "/bin/true")
        (tmp_path / unit.name).write_text(there)
    units = [str(path) for path in tmp_path.iterdir()]
    assert run("systemd-analyze", "verify", *units) == ""


@pytest.mark.long
def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    pair = ("-keyout", tmp_path / "slipway.key", "-out", tmp_path / "slipway.pem")
    make = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x")
    run(*make, *map(str, pair))
    given = (DEPLOY / "nginx/slipway.conf").read_text().replace("/etc/ssl", str(tmp_path))
    (tmp_path / "slipway.conf").write_text(re.sub(r"web-\d\.example", "127.0.0.1", given))
    whole = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ include slipway.conf; }}"
    (tmp_path / "nginx.conf").write_text(whole)
    assert "successful" in run("nginx", "-t", "-c", str(tmp_path / "nginx.conf"))


@pytest.mark.long
@pytest.mark.parametrize("path", ["caddy/Caddyfile", "compose/Caddyfile"])
def test_caddy_accepts_its_configuration(path: str, tmp_path: Path) -> None:
    names = {"PUBLIC_HOST": "a.example", "REGISTRY_HOST": "b.example"}
    command = ("caddy", "validate", "--adapter", "caddyfile", "--config", str(DEPLOY / path))
    assert "Valid configuration" in run(*command, cwd=tmp_path, **names)


@pytest.mark.long
def test_docker_compose_accepts_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    shutil.copytree(DEPLOY / "compose", folder)
    run("sh", str(folder / "secrets.sh"))
    known = yaml.safe_load(run("docker-compose", "--env-file", "example.env", "config", cwd=folder))
    assert {"web", "worker", "database", "redis", "storage", "registry", "proxy"} <= set(
        known["services"]
    )


@pytest.mark.long
def test_kustomize_makes_one_whole_of_the_example(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes/examples/overlay"
    (overlay / "secrets").mkdir()
    for name in ("database_url", "secret_key", "metrics_token", "storage_credentials"):
        (overlay / "secrets" / name).write_text("x")
    made = list(yaml.safe_load_all(run("kubectl", "kustomize", str(overlay))))
    kinds = {each["kind"] for each in made}
    assert {"Deployment", "StatefulSet", "Job", "Ingress", "HorizontalPodAutoscaler"} <= kinds
    images = {
        container["image"]
        for each in made
        if "template" in each.get("spec", {})
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert images == {f"registry.example/slipway-{name}:0.1.0" for name in ("web", "worker")}
