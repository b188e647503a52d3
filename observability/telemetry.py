"""Sends errors to Sentry and traces to OpenTelemetry, if configured in the environment.

Neither is installed with Slipway, so they are only imported if they are configured.
"""

from importlib.util import find_spec
from logging import getLogger
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

SENTRY = ("sentry_sdk",)
TRACES = (
    "opentelemetry.sdk",
    "opentelemetry.exporter.otlp.proto.http",
    # Without it the next one silently ignores ASGI requests, which are all.
    "opentelemetry.instrumentation.asgi",
    "opentelemetry.instrumentation.django",
)
logger = getLogger(__name__)


def missing(names: tuple[str, ...]) -> list[str]:
    """The modules that cannot be imported."""
    found = []
    for name in names:
        try:
            if find_spec(name) is None:
                found.append(name)
        except ModuleNotFoundError:
            found.append(name)
    return found


@register(Tags.compatibility)
def check_reports(**_: Any) -> list[CheckMessage]:
    """System check: errors for what is configured but not installed."""
    found: list[CheckMessage] = []
    if settings.SENTRY_DSN and missing(SENTRY):
        found.append(
            Error(
                "SENTRY_DSN is set, and sentry-sdk is not installed.",
                hint="Run `.venv/bin/pip install sentry-sdk`, or leave the variable out.",
                id="config.E001",
            )
        )
    if settings.OTEL_ENDPOINT and (absent := missing(TRACES)):
        packages = " ".join(name.replace(".", "-") for name in TRACES)
        found.append(
            Error(
                f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and {', '.join(absent)} cannot be imported.",
                hint=f"Run `.venv/bin/pip install {packages}`, or leave the variable out.",
                id="config.E002",
            )
        )
    return found


def start() -> None:
    """Start telemetry. Call once per process. Missing packages are logged as errors."""
    if settings.SENTRY_DSN:
        if missing(SENTRY):
            logger.error("errors do not go to Sentry: sentry-sdk is not installed")
        else:
            _start_sentry()
    if settings.OTEL_ENDPOINT:
        if absent := missing(TRACES):
            logger.error("no traces are sent: %s cannot be imported", ", ".join(absent))
        else:
            _start_traces()


def _start_sentry() -> None:
    import sentry_sdk  # noqa: PLC0415  (only where it is configured)

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        release=f"slipway@{settings.VERSION}",
        # Local variables may have credentials, and bodies are users' build contexts.
        include_local_variables=False,
        max_request_body_size="never",
    )


def _start_traces() -> None:
    # Imported only if configured. The exporter reads the endpoint from the environment.
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.instrumentation.django import DjangoInstrumentor  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": "slipway"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument()
