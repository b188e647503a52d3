"""Daphne as Slipway needs it: bodies spooled to disk, readers that do not read held back."""
