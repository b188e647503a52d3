"""Shared by all engines: settings, the helper's client, denied networks, OCI layouts."""
