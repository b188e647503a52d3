"""Exceptions of the Dockerfile parser."""


class DockerfileRefused(Exception):
    """Slipway does not build this Dockerfile. `text` names the line and says what to do."""

    def __init__(self, text: str, *, line: int | None = None) -> None:
        self.line = line
        self.text = text if line is None else f"Dockerfile line {line}: {text}"
        super().__init__(self.text)


class LeftToBuildKit(Exception):
    """BuildKit's own parser refuses this Dockerfile, and its message names the line correctly."""
