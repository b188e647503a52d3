#!/usr/bin/env python
"""Django's command line, run by an unprivileged user also when root starts it."""

import os
import sys

from config.env import BadEnvironment
from startup.privileges import drop_privileges
from startup.service_user import StartError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")  # noqa: TID251
    try:
        drop_privileges(sys.argv[1:])
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except BadEnvironment as problem:
        sys.exit(f"The environment cannot be used: {problem}")
    except StartError as problem:
        sys.exit(str(problem))
