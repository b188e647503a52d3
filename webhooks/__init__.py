"""Webhooks: events of images, sent by POST to URLs of users and operators."""
