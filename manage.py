#!/usr/bin/env python
"""Django's command line."""

import os
import sys

from django.core.management import execute_from_command_line

from config.env import BadEnvironment

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")  # noqa: TID251
    try:
        execute_from_command_line(sys.argv)
    except BadEnvironment as problem:
        sys.exit(f"The environment cannot be used: {problem}")
