"""Prometheus metrics of builds in this process. `observability.metrics` exposes them."""

from prometheus_client import Counter, Gauge, Histogram

BUILD_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
"""Seconds, from a cached build to the longest useful deadline."""

ENDED = Counter(
    "slipway_builds_ended",
    "Attempts that this process ended, by final status and by whose fault a failure was.",
    ["status", "fault"],
)
DURATION = Histogram(
    "slipway_build_duration_seconds",
    "From the claim of an attempt to its end.",
    ["status"],
    buckets=BUILD_BUCKETS,
)
WAITED = Histogram(
    "slipway_build_wait_seconds",
    "From the request of a build to the claim of its attempt.",
    buckets=BUILD_BUCKETS,
)
LOG_LINES = Counter("slipway_log_lines", "Lines of build logs that this process stored.")
LOG_BYTES = Counter("slipway_log_bytes", "What those lines take as text.")
VIEWERS = Gauge("slipway_viewers", "Who watches logs or images at this process.", ["transport"])
for _transport in ("events", "websocket", "text", "jsonl"):
    VIEWERS.labels(_transport)
