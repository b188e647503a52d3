"""Django's settings, derived only from the environment (config/env.py)."""

import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
import django_stubs_ext

from builds.build_spec import Limits
from builds.conf import BuildSettings
from builds.engine_root import EngineRoot
from config.env import ENGINE_ROOT, environment, private_folder, secret_key

django_stubs_ext.monkeypatch()
ENV = environment()
BASE_DIR = Path(__file__).resolve().parent.parent
VERSION: str = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"]
DATA_DIR = private_folder(ENV.data_dir)
DEBUG = ENV.debug
SECRET_KEY = ENV.secret_key or secret_key(DATA_DIR / "secret_key")

public = urlsplit(ENV.public_url)
CSRF_TRUSTED_ORIGINS = [f"{public.scheme}://{public.netloc}"] if public.netloc else []
# If Slipway listens on all addresses, programs on this machine reach it on loopback.
here = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(ENV.host, ENV.host)  # noqa: S104
PROBES = ("/healthz", "/readyz", "/metrics")
"""Paths that accept any Host header and never redirect to HTTPS."""
PUBLIC_URL = ENV.public_url.rstrip("/") or f"http://{here}:{ENV.port}"
ALLOWED_HOSTS = [*ENV.hosts, public.hostname or here]
SECURE_COOKIES = public.scheme == "https"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_HTTPONLY = True
SECURE_HSTS_SECONDS = 31_536_000 if SECURE_COOKIES else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_COOKIES
SECURE_SSL_REDIRECT = SECURE_COOKIES and ENV.trusted_proxy
SECURE_REDIRECT_EXEMPT = [rf"^{path.removeprefix('/')}$" for path in PROBES]
TRUSTED_PROXY = ENV.trusted_proxy
if TRUSTED_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "dashboard.apps.OperatorsAdmin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "accounts",
    "operators",
    "builds",
    "images",
    "webhooks",
    "config.apps.ConfigApp",
    "dashboard.apps.DashboardConfig",
]
MIDDLEWARE = [
    "webserver.middleware.observe",
    "webserver.cors.cors",
    "webserver.json_answers.json_answers",
    "webserver.middleware.accept_probes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "webserver.csp.content_security_policy",
    "images.pages.errors.method_errors",
]
CSRF_FAILURE_VIEW = "images.pages.errors.csrf_failed"
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES: dict[str, dict[str, Any]]
if ENV.database_url:
    # Log readers hold no connection between two reads, so a small pool serves many of them. The
    # pool tests connections before use, because all are dead after a restart of PostgreSQL.
    parsed = dj_database_url.parse(ENV.database_url, conn_max_age=0)
    DATABASES = {"default": {**parsed}}
    if parsed["ENGINE"] == "django.db.backends.postgresql":
        DATABASES["default"]["ENGINE"] = "database.postgresql"
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
        "min_size": 1,
        "max_size": 16,
        # An unreachable server must be noticed well before the lease of a build expires.
        "timeout": 5,
        # After this time the pool gives up reconnecting, and tries again at the next request.
        # Otherwise it doubles its delay each time, and recovers long after the server is back.
        "reconnect_timeout": 5,
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATA_DIR / "slipway.sqlite3",
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL",
            },
            # A file, as in production: a database in memory is hard to share between threads.
            "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
        }
    }
# W040: SQLite does not support included columns in indexes. The indexes work without them too.
SILENCED_SYSTEM_CHECKS = ["models.W040"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CHANNEL_LAYERS = (
    {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            # Longer than the layer's blocking reads. Otherwise every pause without a message would
            # look like an unreachable Redis.
            "CONFIG": {"hosts": [{"address": ENV.redis_url, "socket_timeout": 15}]},
        }
    }
    if ENV.redis_url
    else {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
)

AUTH_USER_MODEL = "accounts.User"
BUILDS_PULL_RIGHTS = "registry_gateway.pull_access.owner_may_pull"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "images"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator")
] + [{"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"}]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = private_folder(DATA_DIR / "static")
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "storage.bucket.Bucket",
        "OPTIONS": {
            "bucket_name": ENV.storage.name,
            "location": ENV.storage.prefix,
            "endpoint": ENV.storage.endpoint,
            "region": ENV.storage.region,
        },
    }
    if ENV.storage
    else {
        "BACKEND": "storage.folder.Folder",
        "OPTIONS": {"location": DATA_DIR / "files"},
    },
    "staticfiles": {"BACKEND": "webserver.static_files.StaticStorage"},
}
# On the same disk as the storage, so that a context is moved and not copied.
FILE_UPLOAD_TEMP_DIR = private_folder(DATA_DIR / "spool")
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
# Limit for text fields and JSON: the longest Dockerfile and readme, and the other fields.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024
# The most images that an operator may select at once, and the form's other fields.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_100
MAX_BODY_BYTES = ENV.max_body_mb * 1024 * 1024
UPLOAD_BYTES = max(ENV.uploads_mb * 1024 * 1024, MAX_BODY_BYTES)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["api.media_types.JsonRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "api.media_types.JsonAlways",
    "DEFAULT_PARSER_CLASSES": ["api.media_types.JsonParser"],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "api.schema.Schema",
    "EXCEPTION_HANDLER": "api.errors.answer_exception",
    "DEFAULT_PAGINATION_CLASS": "api.pagination.Pages",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Slipway",
    "DESCRIPTION": "Builds container images: a Dockerfile and a context in, live logs and a pushed "
    "image out. Speaks the Chutes Images API.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "ENUM_NAME_OVERRIDES": {"BuildStatus": "builds.models.STATUSES"},
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "api.openapi_hooks.complete",
    ],
    "SERVERS": [{"url": PUBLIC_URL, "description": "This Slipway."}],
    "CONTACT": {"name": "The operators of this Slipway", "url": PUBLIC_URL},
    "LICENSE": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    "COMPONENT_SPLIT_REQUEST": True,
    "SORT_OPERATION_PARAMETERS": False,
}

registry_port = ENV.registry_port or ENV.port + 1000
BUILDS = BuildSettings(
    version=VERSION,
    engine=ENV.engine,
    data_dir=DATA_DIR,
    engine_root=EngineRoot(ENV.engine_root or DATA_DIR / ENGINE_ROOT),
    network=ENV.build_network,
    limits=Limits(
        memory_bytes=ENV.memory_mb * 1024 * 1024,
        pids=ENV.pids,
        cpus=ENV.cpus,
        disk_bytes=ENV.disk_mb * 1024 * 1024,
    ),
    disk_budget_bytes=ENV.disk_budget_mb * 1024 * 1024,
    free_disk_bytes=ENV.free_disk_mb * 1024 * 1024,
    min_disk_bytes=ENV.min_disk_mb * 1024 * 1024,
    deadline_seconds=ENV.deadline,
    grace_seconds=ENV.grace if ENV.grace is not None else 600 if ENV.redis_url else 10,
    daily_builds=ENV.daily_builds,
    owner_builds=ENV.owner_builds,
    worker_classes=ENV.worker_classes,
    base_refresh_seconds=ENV.base_refresh,
    storage_mb=ENV.storage_mb,
    keep_files_days=ENV.keep_files_days,
    workers=ENV.workers,
    redis_url=ENV.redis_url,
    registry=ENV.registry or f"127.0.0.1:{registry_port}",
    registry_insecure=ENV.registry_insecure or not ENV.registry,
    registry_auth=Path(ENV.registry_auth) if ENV.registry_auth else None,
    registry_auth_bases=frozenset(ENV.registry_auth_bases),
    private_registries=frozenset(ENV.private_registries),
    insecure_registries=frozenset(ENV.insecure_registries),
    allowed_bases=ENV.allowed_bases,
    registry_guarded=not ENV.registry,
    token_realm=f"{PUBLIC_URL}/registry/token",
    token_secret=SECRET_KEY,
    registry_mirrors=tuple(
        (name, mirror) for name, _, mirror in (each.partition("=") for each in ENV.registry_mirrors)
    ),
)

CORS_ORIGINS = ENV.cors_origins
WEBHOOK_HOSTS = ENV.webhook_hosts
METRICS_TOKEN = ENV.metrics_token
METRICS_PORT = ENV.metrics_port
SENTRY_DSN = ENV.sentry_dsn
OTEL_ENDPOINT = ENV.otel_endpoint

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "{asctime} {levelname} {name} {message}{ids}", "style": "{"},
        "json": {"()": "observability.logs.JsonFormatter"},
    },
    "filters": {"ids": {"()": "observability.logs.Ids"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": ENV.log_format,
            "filters": ["ids"],
        }
    },
    "root": {"handlers": ["console"], "level": ENV.log_level},
    "loggers": {
        "daphne": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "twisted": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
    },
}
