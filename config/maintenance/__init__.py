"""Backups: written while Slipway runs, restored into an empty place."""
