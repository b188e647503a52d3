"""Metrics, logs, telemetry, health checks and the doctor."""
