"""Errors to Sentry and traces to OpenTelemetry, where the environment names them.

Neither is installed with Slipway: what is not configured is not imported.
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
    # Without it the next one lets pass untold whatever comes by ASGI, which is all.
    "opentelemetry.instrumentation.asgi",
    "opentelemetry.instrumentation.django",
)
logger = getLogger(__name__)


def missing(names: tuple[str, ...]) -> list[str]:
    """Those that cannot be imported."""
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
    """What is configured and not installed."""
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
    """Once in each process. What is not installed is left to the check, and to the log."""
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
        # Credentials pass through variables, and bodies are what people build.
        include_local_variables=False,
        max_request_body_size="never",
    )


def _start_traces() -> None:
    # Only where it is configured. The exporter reads the endpoint from the environment itself.
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
