"""Unpacks an uploaded build context (zip, tar, tar.gz, tar.zst) or refuses it in one sentence."""

from builds.context.dockerignore import (
    OF_DOCKERFILE,
    Dockerignore,
    DockerignoreError,
    leaves_out,
    load_dockerignore,
    read_ignore_file,
)
from builds.context.limits import ContextLimits, ContextRefused
from builds.context.unpacking import ContextSummary, unpack

__all__ = [
    "OF_DOCKERFILE",
    "ContextLimits",
    "ContextRefused",
    "ContextSummary",
    "Dockerignore",
    "DockerignoreError",
    "leaves_out",
    "load_dockerignore",
    "read_ignore_file",
    "unpack",
]
