"""The policy that a Dockerfile passes before a build, and the images that it needs."""

from builds.dockerfile.instructions import DockerfileRefused
from builds.dockerfile.policy import ReadDockerfile, read

__all__ = ["DockerfileRefused", "ReadDockerfile", "read"]
