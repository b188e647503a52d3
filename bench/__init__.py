"""Figures of a whole Slipway, beside what they are to be compared with."""
