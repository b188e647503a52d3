"""The wall that builds run behind, and what every engine shares: settings, limits, layouts."""
