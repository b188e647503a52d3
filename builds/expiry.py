"""Label with the lifetime of an image, compatible with Quay: `quay.expires-after=2w`."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from builds.engines.sandbox.layout import MALFORMED, blob, read_entry, read_json

LABEL = "quay.expires-after"
FORM = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=3650)


class BadExpiry(ValueError):
    """The label's value is invalid. The message says what is valid."""


def expires_after(labels: Mapping[str, str]) -> timedelta | None:
    """The lifetime in the labels, or None without the label. Raises BadExpiry."""
    text = labels.get(LABEL)
    if text is None:
        return None
    found = FORM.fullmatch(text.strip())
    if found is None:
        raise BadExpiry(f"{LABEL} takes a number and one of s, m, h, d, w, such as 2w")
    return min(timedelta(**{UNITS[found[2]]: int(found[1])}), LONGEST)


def labels_of(layout: Path) -> Mapping[str, str]:
    """Labels of the image in a verified OCI layout; empty if it cannot be read."""
    try:
        manifest = read_json(blob(layout, read_entry(layout)["digest"]))
        config = read_json(blob(layout, manifest["config"]["digest"]))
        found = config.get("config", {}).get("Labels") or {}
        return {name: value for name, value in found.items() if isinstance(value, str)}
    except MALFORMED:
        return {}
