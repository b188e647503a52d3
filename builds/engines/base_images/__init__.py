"""Base images: fetched once in a network sandbox, kept as OCI layouts that all builds read."""
