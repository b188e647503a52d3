"""`manage.py up`: runs web server, workers and registry on one machine until interrupted."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from builds.conf import build_settings
from builds.engine_factory import engine
from builds.process import ProcessError
from builds.registry import make_signer
from builds.worker import WORKER
from config import worker
from config.env import environment
from registry_gateway.local_registry import LocalRegistry
from startup import bootstrap, data_directory
from webserver import body_limits
from webserver.server import serve


class Command(BaseCommand):
    help = "Sets up the data directory where needed and serves API, pages, admin and builds."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-example", action="store_true", help="build nothing by itself")

    def handle(self, *args: Any, **options: Any) -> None:
        data_dir: Path = settings.DATA_DIR
        try:
            with data_directory.lock(data_dir):
                self.serve(data_dir, example=not options["no_example"])
        except (data_directory.InUse, ProcessError, OSError) as problem:
            raise CommandError(str(problem)) from problem

    def serve(self, data_dir: Path, *, example: bool) -> None:
        env = environment()
        bootstrap.check_port(env.host, env.port, "SLIPWAY_PORT")
        if not env.registry:
            host, _, port = build_settings().registry.rpartition(":")
            bootstrap.check_port(host, int(port), "SLIPWAY_REGISTRY_PORT")
        if bootstrap.migrate():
            self.stdout.write(f"Database set up in {data_dir}")
        bootstrap.clear_spool(Path(settings.FILE_UPLOAD_TEMP_DIR))
        bootstrap.static()
        bootstrap.first_user(data_dir)
        self.look_at_the_engine()
        registry = None
        if not env.registry:
            registry = LocalRegistry(
                engine_root=build_settings().engine_root,
                address=build_settings().registry,
                folder=data_dir / "registry",
                signer=make_signer(build_settings()),
            )
            registry.start()
        stop_worker = worker.start()

        def stop() -> None:
            stop_worker()
            if registry is not None:
                registry.stop()

        if example:
            bootstrap.first_build(data_dir)
        serve(
            # Imported only now, because it reads the list of static files at import.
            import_string("config.asgi.application"),
            host=env.host,
            port=env.port,
            uploads=body_limits.uploads(),
            max_body=settings.MAX_BODY_BYTES,
            check=body_limits.check,
            check_at_once=body_limits.check_at_once,
            ready=self.greet,
            on_stop=stop,
        )
        if WORKER.helper_lost:
            raise CommandError(worker.HELPER_LOST)

    def look_at_the_engine(self) -> None:
        problems = engine().problems()
        for problem in problems:
            self.stderr.write(f"Note: {problem.text}; {problem.hint}")
        if any(problem.fatal for problem in problems):
            raise CommandError("the engine cannot build on this machine; see above")

    def greet(self, port: int) -> None:
        here = f"http://{environment().host}:{port}"
        key, password = (settings.DATA_DIR / f"admin.{kind}" for kind in ("key", "password"))
        lines = [
            f"Slipway is up: {here}/",
            f"  API       {here}/images/   key in {key}",
            f"  Admin     {here}/admin/    user admin, password in {password}",
            f"  Registry  {build_settings().registry}",
            "Ctrl-C stops it.",
        ]
        self.stdout.write("\n".join(lines))
        self.stdout.flush()
