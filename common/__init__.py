"""Helpers without Django's models or views: outages, words for times and sizes."""
