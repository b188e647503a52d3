"""Helpers that import no models or views: error codes, outages, formatting of times and sizes."""
