"""Parses Dockerfiles for the worker; BuildKit builds them. See `docs/dockerfile.md`."""

from builds.dockerfile.errors import DockerfileRefused
from builds.dockerfile.reader import read

__all__ = ["DockerfileRefused", "read"]
