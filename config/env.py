"""Reads the environment into typed values. Only this module knows the names of variables."""

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

T = TypeVar("T")
IN_FILE = "_FILE"
ENGINE_ROOT = Path("engine-root", "current")
"""The engine root's default path, relative to the data directory."""


class BadEnvironment(Exception):
    """A variable has an invalid value. The message names the variable and the valid values."""


def text(value: str) -> str:
    return value


def number(value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise ValueError("takes a whole number")
    return int(value)


def optional_number(value: str) -> int | None:
    return number(value) if value else None


def decimal(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError("takes a number") from None


def flag(value: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if value.lower() not in words:
        raise ValueError("takes yes or no")
    return words[value.lower()]


def words(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def folder(value: str) -> Path:
    return Path(value).expanduser().absolute()


def optional_folder(value: str) -> Path | None:
    return folder(value) if value else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPlace:
    """An S3 bucket and how to reach it."""

    name: str
    prefix: str = ""
    endpoint: str = ""
    """URL of the S3 server. Empty for AWS."""
    region: str = ""


def bucket(value: str) -> BucketPlace | None:
    if not value:
        return None
    parts = urlsplit(value)
    asked = dict(parse_qsl(parts.query))
    if parts.scheme != "s3" or not parts.netloc or asked.keys() - {"endpoint", "region"}:
        raise ValueError("takes s3://bucket/prefix?endpoint=https://…&region=…")
    return BucketPlace(name=parts.netloc, prefix=parts.path.strip("/"), **asked)


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"takes one of {', '.join(choices)}")
        return value

    return parse


def variable(name: str, parse: Callable[[str], T], default: str, meaning: str) -> T:
    """A field of Environment. `default` is written as in the environment; "" means not set.

    `parse` raises ValueError with the valid values.
    """
    metadata = {"name": name, "parse": parse, "default": default, "meaning": meaning}
    made: T = field(metadata=metadata)
    return made


@dataclass(frozen=True, kw_only=True)
class Environment:
    """All environment variables of Slipway. docs/configuration.md lists the same."""

    host: str = variable("SLIPWAY_HOST", text, "127.0.0.1", "The address to listen on")
    port: int = variable("SLIPWAY_PORT", number, "8000", "The port to listen on")
    data_dir: Path = variable(
        "SLIPWAY_DATA_DIR", folder, "var", "Where everything that lasts is kept"
    )
    database_url: str = variable(
        "DATABASE_URL", text, "", "postgres://… ; without it SQLite in the data directory"
    )
    redis_url: str = variable(
        "REDIS_URL", text, "", "redis://… for queue and bell; without it both live in the process"
    )
    storage: BucketPlace | None = variable(
        "SLIPWAY_STORAGE",
        bucket,
        "",
        "s3://bucket/prefix?endpoint=https://…&region=… for files; without it the data directory",
    )
    registry: str = variable(
        "SLIPWAY_REGISTRY", text, "", "host[:port] to push to; without it one is started"
    )
    registry_port: int = variable(
        "SLIPWAY_REGISTRY_PORT",
        number,
        "0",
        "Port of the started registry; 0 is SLIPWAY_PORT + 1000",
    )
    registry_insecure: bool = variable(
        "SLIPWAY_REGISTRY_INSECURE", flag, "no", "Whether SLIPWAY_REGISTRY speaks plain http"
    )
    registry_auth: str = variable(
        "SLIPWAY_REGISTRY_AUTH", text, "", "A file as `docker login` writes it, for pushes"
    )
    registry_auth_bases: tuple[str, ...] = variable(
        "SLIPWAY_REGISTRY_AUTH_BASES",
        words,
        "",
        "Registries whose base images are pulled with SLIPWAY_REGISTRY_AUTH, for every user",
    )
    registry_mirrors: tuple[str, ...] = variable(
        "SLIPWAY_REGISTRY_MIRRORS", words, "", "docker.io=mirror.example:5000, comma-separated"
    )
    private_registries: tuple[str, ...] = variable(
        "SLIPWAY_PRIVATE_REGISTRIES",
        words,
        "",
        "host[:port] of registries and token servers that may have private addresses",
    )
    cors_origins: tuple[str, ...] = variable(
        "SLIPWAY_CORS_ORIGINS",
        words,
        "",
        "Origins, such as https://ci.example.com, whose pages may call the API; * for all",
    )
    webhook_hosts: tuple[str, ...] = variable(
        "SLIPWAY_WEBHOOK_HOSTS",
        words,
        "",
        "host[:port] that webhooks may be sent to although they have private addresses",
    )
    insecure_registries: tuple[str, ...] = variable(
        "SLIPWAY_INSECURE_REGISTRIES",
        words,
        "",
        "host[:port] of registries on plain http or without a known certificate",
    )
    allowed_bases: tuple[str, ...] = variable(
        "SLIPWAY_ALLOWED_BASES",
        words,
        "",
        "Patterns of base images, such as docker.io/library/*; without any all are allowed",
    )
    engine: str = variable(
        "SLIPWAY_ENGINE", one_of("buildkit", "scripted"), "buildkit", "What builds the images"
    )
    engine_root: Path | None = variable(
        "SLIPWAY_ENGINE_ROOT",
        optional_folder,
        "",
        "An engine root that several data directories share; without it each has its own",
    )
    debian_mirror: str = variable(
        "SLIPWAY_DEBIAN_MIRROR",
        text,
        "",
        "Where the engine root's packages come from; without it, as the host's own, else "
        "http://deb.debian.org/debian. The same address with -security at its end is used too",
    )
    user: str = variable(
        "SLIPWAY_USER", text, "slipway", "User that Slipway runs as when it is started as root"
    )
    build_network: bool = variable(
        "SLIPWAY_BUILD_NETWORK", flag, "yes", "Whether RUN may reach the internet"
    )
    workers: int = variable("SLIPWAY_WORKERS", number, "2", "Builds at once in one process")
    deadline: int = variable("SLIPWAY_DEADLINE", number, "3600", "Seconds that a build may take")
    grace: int | None = variable(
        "SLIPWAY_GRACE",
        optional_number,
        "",
        "Seconds that builds go on after SIGTERM; without it 600 with REDIS_URL, else 10",
    )
    stop_delay: int = variable(
        "SLIPWAY_STOP_DELAY",
        number,
        "10",
        "Seconds that `web` serves on after SIGTERM, while /readyz answers 503",
    )
    daily_builds: int = variable(
        "SLIPWAY_DAILY_BUILDS", number, "24", "Builds per owner in 24 hours"
    )
    storage_mb: int = variable(
        "SLIPWAY_STORAGE_MB",
        number,
        "0",
        "MiB that an owner's images may take in the registry; 0 is no limit",
    )
    owner_builds: int | None = variable(
        "SLIPWAY_OWNER_BUILDS", optional_number, "", "Builds of one owner at once; none is no limit"
    )
    worker_classes: tuple[str, ...] = variable(
        "SLIPWAY_WORKER_CLASSES",
        words,
        "",
        "Resource classes that a worker process takes; without any it takes all",
    )
    memory_mb: int = variable("SLIPWAY_BUILD_MEMORY_MB", number, "4096", "Memory of one build")
    pids: int = variable("SLIPWAY_BUILD_PIDS", number, "4096", "Processes of one build")
    cpus: float = variable("SLIPWAY_BUILD_CPUS", decimal, "2", "Processors of one build")
    disk_mb: int = variable(
        "SLIPWAY_BUILD_DISK_MB",
        number,
        "20480",
        "Disk of one build: of its owner's cache, where root makes one, and of the image",
    )
    disk_budget_mb: int = variable(
        "SLIPWAY_DISK_BUDGET_MB",
        number,
        "0",
        "What the system page measures disk use against; 0 is the file system's size",
    )
    free_disk_mb: int = variable(
        "SLIPWAY_FREE_DISK_MB", number, "5120", "Where less is free, builds' caches are dropped"
    )
    min_disk_mb: int = variable(
        "SLIPWAY_MIN_DISK_MB", number, "1024", "A worker with less free disk takes no build"
    )
    keep_files_days: int = variable(
        "SLIPWAY_KEEP_FILES_DAYS",
        number,
        "7",
        "Days that stored files stay which nothing names: longer than a backup may be old",
    )
    keep_attempts_days: int = variable(
        "SLIPWAY_KEEP_ATTEMPTS_DAYS",
        number,
        "0",
        "Days that superseded attempts stay, with tags, logs and contexts; 0 is for ever",
    )
    keep_logs_days: int = variable(
        "SLIPWAY_KEEP_LOGS_DAYS",
        number,
        "0",
        "Days that logs of ended attempts stay; 0 is for ever",
    )
    keep_contexts_days: int = variable(
        "SLIPWAY_KEEP_CONTEXTS_DAYS",
        number,
        "0",
        "Days that contexts of ended attempts stay for building again; 0 is for ever",
    )
    keep_audit_days: int = variable(
        "SLIPWAY_KEEP_AUDIT_DAYS",
        number,
        "0",
        "Days that the audit log reaches back; 0 is for ever",
    )
    keep_keys_days: int = variable(
        "SLIPWAY_KEEP_KEYS_DAYS",
        number,
        "0",
        "Days that revoked and expired API keys are listed; 0 is for ever",
    )
    base_refresh: int = variable(
        "SLIPWAY_BASE_REFRESH", number, "600", "Seconds for which a pulled base counts as fresh"
    )
    max_body_mb: int = variable("SLIPWAY_MAX_BODY_MB", number, "1024", "Largest request body")
    uploads_mb: int = variable(
        "SLIPWAY_UPLOADS_MB", number, "4096", "Disk for request bodies that are being received"
    )
    secret_key: str = variable(
        "SLIPWAY_SECRET_KEY", text, "", "Signs sessions; without it one is kept in the data folder"
    )
    hosts: tuple[str, ...] = variable(
        "SLIPWAY_HOSTS", words, "localhost,127.0.0.1,[::1]", "Host names that requests may name"
    )
    public_url: str = variable(
        "SLIPWAY_PUBLIC_URL", text, "", "https://… as users see it; sets CSRF origin and cookies"
    )
    trusted_proxy: bool = variable(
        "SLIPWAY_TRUSTED_PROXY",
        flag,
        "no",
        "Whether X-Forwarded-Proto and -For of the front are believed",
    )
    debug: bool = variable("SLIPWAY_DEBUG", flag, "no", "Django's debug pages: never in public")
    log_level: str = variable(
        "SLIPWAY_LOG_LEVEL",
        one_of("DEBUG", "INFO", "WARNING", "ERROR"),
        "INFO",
        "Lowest level of log records that are written",
    )
    log_format: str = variable(
        "SLIPWAY_LOG_FORMAT", one_of("text", "json"), "text", "How it is told: for people or tools"
    )
    metrics_token: str = variable(
        "SLIPWAY_METRICS_TOKEN",
        text,
        "",
        "Bearer token for /metrics; without it, only loopback may read them",
    )
    metrics_port: int = variable(
        "SLIPWAY_METRICS_PORT",
        number,
        "0",
        "Where a worker process gives its metrics; 0 is nowhere",
    )
    sentry_dsn: str = variable("SENTRY_DSN", text, "", "Where errors go; needs sentry-sdk")
    otel_endpoint: str = variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        text,
        "",
        "Where traces go; needs the packages of OpenTelemetry",
    )


def read_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Read the variables that are given as files: `NAME_FILE` is the path of the value of `NAME`.

    Raises BadEnvironment if a file cannot be read, or if both variables are set.
    """
    found = {}
    for each in fields(Environment):
        name: str = each.metadata["name"]
        path = environ.get(f"{name}{IN_FILE}", "")
        if not path:
            continue
        if environ.get(name):
            raise BadEnvironment(f"{name} and {name}{IN_FILE} are both set: use one")
        try:
            found[name] = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise BadEnvironment(
                f"{name}{IN_FILE}={path!r}: cannot be read: {problem}"
            ) from problem
    return found


def load(environ: Mapping[str, str]) -> Environment:
    """Parse all variables. Raises BadEnvironment with all invalid variables in one message."""
    environ = {**environ, **read_files(environ)}
    values: dict[str, Any] = {}
    problems = []
    for each in fields(Environment):
        name, parse = each.metadata["name"], each.metadata["parse"]
        given = environ.get(name, "").strip() or each.metadata["default"]
        try:
            values[each.name] = parse(given)
        except ValueError as problem:
            problems.append(f"{name}={given!r}: {problem}")
    if problems:
        raise BadEnvironment("; ".join(problems))
    return Environment(**values)


def private_folder(path: Path) -> Path:
    """Create a folder with mode 0700 if it is missing, and return it.

    Raises BadEnvironment if it cannot be created or written to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise BadEnvironment(f"SLIPWAY_DATA_DIR: cannot make {path}: {problem}") from problem
    if not os.access(path, os.W_OK | os.X_OK):
        raise BadEnvironment(f"SLIPWAY_DATA_DIR: cannot write in {path}")
    return path


def secret_key(path: Path) -> str:
    """The key stored in `path`. Created at the first use, with mode 0600."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        made = secrets.token_urlsafe(50)
        file.write(made)
    return made


@cache
def environment() -> Environment:
    """The environment of this process, read once. Raises BadEnvironment."""
    return load(os.environ)  # noqa: TID251
