"""`manage.py web`: serves API, pages and admin. Workers run in separate processes."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError
from django.utils.module_loading import import_string

from builds.conf import build_settings
from config.env import environment
from observability import health
from observability.logs import keep_errors
from startup import bootstrap
from webserver import body_limits
from webserver.server import serve


class Command(BaseCommand):
    help = "Serves over HTTP. Builds are run by `manage.py worker`."

    def handle(self, *args: Any, **options: Any) -> None:
        if not environment().redis_url:
            raise CommandError("REDIS_URL is not set: without it no worker hears of a build")
        with suppress(OperationalError):  # unreachable: requests get 503 until it is back
            try:
                bootstrap.check_migrated()
            except bootstrap.Unmigrated as problem:
                raise CommandError(str(problem)) from problem
        bootstrap.static()
        spool_dir = Path(settings.FILE_UPLOAD_TEMP_DIR)
        bootstrap.clear_spool(spool_dir, untouched=timedelta(hours=1))
        keep_errors()
        health.PROCESS.parts = health.WEB
        try:
            serve(
                # Imported only now, because it reads the list of static files at import.
                import_string("config.asgi.application"),
                host=environment().host,
                port=environment().port,
                uploads=body_limits.uploads(),
                max_body=settings.MAX_BODY_BYTES,
                check=body_limits.check,
                check_at_once=body_limits.check_at_once,
                grace_seconds=build_settings().grace_seconds,
                leave_seconds=environment().stop_delay,
                on_leave=health.PROCESS.leaving.set,
            )
        except OSError as problem:
            raise CommandError(str(problem)) from problem
