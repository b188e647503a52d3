"""A small service of another make for the same calls on the same data, to compare with."""
