"""One measured value, and what it is to be held against."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    name: str
    value: float = math.nan
    """Not a number where there is none; `note` says why."""
    unit: str = ""
    ratio_to: str = ""
    ratio: float | None = None
    target: float | None = None
    """What it is meant to reach, in its unit: at most, or of a rate at least."""
    target_ratio: float | None = None
    """At most."""
    note: str = ""

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"name": self.name}
        if self.note:
            row["note"] = self.note
        if not math.isnan(self.value):
            row |= {"value": round(self.value, 4), "unit": self.unit}
        if self.ratio is not None:
            row |= {"ratio_to": self.ratio_to, "ratio": round(self.ratio, 3)}
        if self.target is not None:
            row["target"] = self.target
        if self.target_ratio is not None:
            row["target_ratio"] = self.target_ratio
        return row
