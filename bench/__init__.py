"""Benchmarks of a complete Slipway, compared with other programs."""
