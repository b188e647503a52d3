"""Reads Dockerfiles for the worker; BuildKit builds them. `docs/dockerfile.md` says what works."""

from builds.dockerfile.errors import DockerfileRefused
from builds.dockerfile.reader import read

__all__ = ["DockerfileRefused", "read"]
