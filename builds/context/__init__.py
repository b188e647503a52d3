"""Unpacks an uploaded build context (zip, tar, tar.gz, tar.zst) or refuses it with one sentence."""

from builds.context.dockerignore import (
    OF_DOCKERFILE,
    Dockerignore,
    DockerignoreError,
    leaves_out,
    load_dockerignore,
    read_ignore_file,
)
from builds.context.formats import detect
from builds.context.limits import ContextLimits, ContextRefused
from builds.context.single_file import path_parts, read_text
from builds.context.unpacking import ContextSummary, unpack

__all__ = [
    "OF_DOCKERFILE",
    "ContextLimits",
    "ContextRefused",
    "ContextSummary",
    "Dockerignore",
    "DockerignoreError",
    "detect",
    "leaves_out",
    "load_dockerignore",
    "path_parts",
    "read_ignore_file",
    "read_text",
    "unpack",
]
