"""A small service of another design with the same calls on the same data, for comparison."""
