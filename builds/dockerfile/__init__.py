"""Reads Dockerfiles for the worker; BuildKit builds them. `docs/dockerfile.md` says what works."""

from builds.dockerfile.errors import DockerfileRefused
from builds.dockerfile.onbuild import onbuild_references
from builds.dockerfile.reader import onbuild_positions, read

__all__ = ["DockerfileRefused", "onbuild_positions", "onbuild_references", "read"]
