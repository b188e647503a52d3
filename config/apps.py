from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ConfigApp(AppConfig):
    name = "config"

    def ready(self) -> None:
        from config import metrics, reports  # noqa: PLC0415  (apps must be there first)

        metrics.watch_queries()
        reports.start()


class OperatorsAdmin(AdminConfig):
    """Django's admin with a page about the system."""

    default_site = "config.site.OperatorsSite"
