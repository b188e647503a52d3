"""Daphne with large bodies spooled to disk, upload limits, and a time limit for stalled readers."""
