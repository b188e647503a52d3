"""Unpacks an uploaded build context (zip, tar, tar.gz, tar.zst) or refuses it in one sentence."""

from builds.context.dockerignore import Dockerignore, DockerignoreError, load_dockerignore
from builds.context.limits import ContextLimits, ContextRefused
from builds.context.unpacking import ContextSummary, unpack

__all__ = [
    "ContextLimits",
    "ContextRefused",
    "ContextSummary",
    "Dockerignore",
    "DockerignoreError",
    "load_dockerignore",
    "unpack",
]
