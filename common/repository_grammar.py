"""Grammar of repository names and tags in a container registry."""

import re

COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
"""One component of a repository name, between slashes."""
REPOSITORY = re.compile(rf"{COMPONENT}(?:/{COMPONENT})*", re.ASCII)
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
