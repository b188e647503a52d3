"""One measured value, and what it is to be held against."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    name: str
    value: float
    unit: str
    ratio_to: str = ""
    ratio: float | None = None
    target: float | None = None
    """What it is meant to reach, in its unit: at most, or of a rate at least."""

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
        }
        if self.ratio is not None:
            row |= {"ratio_to": self.ratio_to, "ratio": round(self.ratio, 3)}
        if self.target is not None:
            row["target"] = self.target
        return row
