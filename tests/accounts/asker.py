"""A process of its own for test_processes.py: for each line of headers it is given, asks once."""
# ruff: noqa: E402 - Django wants its settings before its modules

import json
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings

settings.DATABASES["default"]["NAME"] = sys.argv[1]

import django

django.setup()

from django.test import Client

client = Client(HTTP_HOST="localhost")
client.get("/users/me")  # what is slow the first time is over
sys.stdout.write("ready\n")
sys.stdout.flush()
for line in sys.stdin:
    answer = client.get("/images/", **json.loads(line))
    sys.stdout.write(f"{answer.status_code}\n")
    sys.stdout.flush()
