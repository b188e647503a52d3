"""One measured value, and its target."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    name: str
    value: float = math.nan
    """Not a number if there is no value; `note` says why."""
    unit: str = ""
    ratio_to: str = ""
    ratio: float | None = None
    target: float | None = None
    """The target in the unit of the value: a maximum or, for a rate, a minimum."""
    target_ratio: float | None = None
    """The largest ratio that is acceptable."""
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
