"""Webhooks: what happens to images, posted to addresses that users and operators name."""
